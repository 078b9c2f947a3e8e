//! The pipeline: stage contract, links, placement plan, one turn of the loop.
