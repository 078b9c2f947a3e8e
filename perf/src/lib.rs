//! Reproducible performance runs.
