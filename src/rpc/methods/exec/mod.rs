//! Approval of commands.

pub mod approvals_get;
