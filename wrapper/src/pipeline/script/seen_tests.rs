//! What a log says of a run.
