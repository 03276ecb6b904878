//! In: what a schedule or a rule over readings says, readings, what the time is. Out: what a function is told and when, and what
//! must be kept for it. Never: IO, a clock, a look at the ledger.
