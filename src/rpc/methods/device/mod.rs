//! Devices that are paired with the gateway. There are none yet.

pub mod pair_list;
