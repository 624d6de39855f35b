//! `doctor.*`: what only a running gateway can find out about itself.

pub mod proxy;
