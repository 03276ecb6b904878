//! Envelopes, rules as documents, and chains against a slow and obvious reference.

mod chains;
mod derived;
mod envelopes;
mod rules;
mod slow;
