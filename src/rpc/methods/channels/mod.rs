//! Message channels. There are none; their methods answer so.

pub mod status;
