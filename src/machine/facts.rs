//! What does not change while the machine is up: its name, its system, its processors.

use std::fs::read_to_string;

use crate::protocol::system::HostInfo;

/// The machine of that name.
#[must_use]
pub fn host(name: &str) -> HostInfo {
    let uname = rustix::system::uname();
    HostInfo {
        name: name.to_owned(),
        os: read_to_string("/etc/os-release").ok().and_then(|text| pretty_name(&text)).unwrap_or_else(|| "Linux".to_owned()),
        kernel: uname.release().to_string_lossy().into_owned(),
        arch: uname.machine().to_string_lossy().into_owned(),
        product: read_to_string("/sys/class/dmi/id/product_name").ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
    }
}

/// What the first processor calls itself.
#[must_use]
pub fn cpu_model() -> Option<String> {
    model_name(&read_to_string("/proc/cpuinfo").ok()?)
}

fn pretty_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

fn model_name(text: &str) -> Option<String> {
    let (_, value) = text.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == "model name"))?;
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_without_their_quotes() {
        assert_eq!(pretty_name("NAME=x\nPRETTY_NAME=\"Ubuntu 22.04.5 LTS\"\n").as_deref(), Some("Ubuntu 22.04.5 LTS"));
        assert_eq!(pretty_name("NAME=x\n"), None);
        let text = "processor\t: 0\nmodel name\t: AMD EPYC 7571\n\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(model_name(text).as_deref(), Some("AMD EPYC 7571"));
        assert_eq!(model_name("processor : 0\n"), None);
    }

    #[test]
    fn this_machine_has_a_name_and_a_system() {
        let host = host("vm");
        assert_eq!(host.name, "vm");
        assert!(!host.os.is_empty() && !host.kernel.is_empty() && !host.arch.is_empty(), "{host:?}");
    }
}
