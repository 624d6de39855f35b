//! Changes of a config on the text that its author wrote: only what changes is touched; comments, order, `$include` and `${NAME}` stay.

pub mod draft;
pub mod style;
pub mod text;
pub mod tree;
