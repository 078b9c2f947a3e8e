//! Commands on their way to the control thread.
//!
//! The prompt and each `tpoctl` connection have a thread of their own, which hands one line at a
//! time to the one thread that owns the appliance and waits for the answer. The queue is bounded
//! by the number of these threads: none has two lines under way.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use super::backend::Backend;
use super::executor::{Executor, LineError};

/// A line and where its answer goes.
#[derive(Debug)]
pub struct Order {
    line: String,
    json: bool,
    answer: SyncSender<Answer>,
}

/// What came of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was carried out; the text for people.
    Text(String),
    /// It was carried out; the reply as JSON (null for an empty line).
    Json(serde_json::Value),
    /// It is no command.
    Usage(String),
    /// It is a command, and was refused.
    Failed(String),
    /// The program is ending.
    Gone,
}

/// Hands lines in; one for each front end.
#[derive(Clone, Debug)]
pub struct Source(Sender<Order>);

/// Takes lines out; the control thread has it.
#[derive(Debug)]
pub struct Orders(Receiver<Order>);

impl Orders {
    /// A queue and its first way in.
    #[must_use]
    pub fn new() -> (Source, Orders) {
        let (sender, receiver) = channel();
        (Source(sender), Orders(receiver))
    }

    /// Waits up to `timeout` for orders and carries out those that are there; returns early after
    /// `quit`.
    pub fn serve<B: Backend>(&self, executor: &mut Executor<B>, timeout: Duration) {
        match self.0.recv_timeout(timeout) {
            Ok(order) => carry_out(executor, &order),
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => {
                // Without a front end nothing will come: keep the caller's pace.
                std::thread::sleep(timeout);
                return;
            }
        }
        while !executor.is_quitting() {
            let Ok(order) = self.0.try_recv() else { return };
            carry_out(executor, &order);
        }
    }
}

impl Source {
    /// Hands a line in and waits for its answer.
    #[must_use]
    pub fn ask(&self, line: &str, json: bool) -> Answer {
        let (answer, answered) = sync_channel(1);
        let order = Order { line: line.to_owned(), json, answer };
        if self.0.send(order).is_err() {
            return Answer::Gone;
        }
        answered.recv().unwrap_or(Answer::Gone)
    }
}

fn carry_out<B: Backend>(executor: &mut Executor<B>, order: &Order) {
    let answer = match executor.line(&order.line) {
        Err(LineError::Parse(error)) => Answer::Usage(error.to_string()),
        Err(LineError::Command(error)) => Answer::Failed(error.to_string()),
        Ok(reply) if order.json => match serde_json::to_value(&reply) {
            Ok(value) => Answer::Json(value),
            Err(error) => Answer::Failed(format!("the reply cannot be written as JSON: {error}")),
        },
        Ok(reply) => Answer::Text(reply.map(|reply| reply.to_string()).unwrap_or_default()),
    };
    // Who asked may have gone away meanwhile; that is no concern of ours.
    let _ = order.answer.send(answer);
}
