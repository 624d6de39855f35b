//! The client's address behind trusted proxies. It serves limits and logs only; no address ever gives a right.
//!
//! A proxy appends the address of its own peer to the right of X-Forwarded-For, so everything left of the first hop that we do not trust was written by the client and says nothing. We therefore walk from the right and stop at that hop.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// Most hops that are looked at; a longer list is cut on its left, the forged side.
const MAX_HOPS: usize = 16;

/// A range of addresses, `10.0.0.0/8` or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    bits: u8,
}

/// A range that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address or a range like 10.0.0.0/8")]
pub struct BadCidr;

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) if bits.bytes().all(|b| b.is_ascii_digit()) => (base, Some(bits.parse().map_err(|_| BadCidr)?)),
            Some(_) => return Err(BadCidr),
            None => (text, None),
        };
        let base = fold(base.parse().map_err(|_| BadCidr)?);
        let width = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits > width { Err(BadCidr) } else { Ok(Self { base, bits }) }
    }
}

impl Cidr {
    /// Whether `address` lies in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, fold(address)) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// One form for each address: IPv4 inside IPv6 is IPv4.
#[must_use]
pub fn fold(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// What limits count by: an IPv4 address, or the /64 of an IPv6 address, since one client commonly owns all of it.
#[must_use]
pub fn limit_key(address: IpAddr) -> IpAddr {
    match fold(address) {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        folded => folded,
    }
}

/// The client's address: the socket's peer, or, when that is a trusted proxy, the right-most address of `forwarded` that is not one. `forwarded` holds the X-Forwarded-For values in their order. A value that is not an address ends the walk at the socket's peer.
#[must_use]
pub fn client_address<'h>(socket: IpAddr, forwarded: impl IntoIterator<Item = &'h str>, trusted: &[Cidr]) -> IpAddr {
    let socket = fold(socket);
    let is_trusted = |address| trusted.iter().any(|range| range.contains(address));
    if !is_trusted(socket) {
        return socket;
    }
    let values: Vec<&str> = forwarded.into_iter().collect();
    let hops = values.iter().rev().flat_map(|value| value.rsplit(',')).take(MAX_HOPS);
    let mut client = socket;
    for hop in hops {
        let Some(address) = parse_hop(hop.trim()) else { return socket };
        client = address;
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// An address as proxies write it: bare, `1.2.3.4:567`, `[2001:db8::1]` or `[2001:db8::1]:567`.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let bare = hop.parse::<IpAddr>().ok();
    let with_port = || hop.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip());
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    bare.or_else(with_port).or_else(bracketed).map(fold)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(socket: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<Cidr> = trusted.iter().map(|range| range.parse().unwrap()).collect();
        client_address(socket.parse().unwrap(), forwarded.iter().copied(), &trusted).to_string()
    }

    const NGINX: &[&str] = &["127.0.0.1", "::1"];

    #[test]
    fn m50_forwarded_addresses_from_an_untrusted_peer_are_not_read() {
        assert_eq!(client("203.0.113.9", &["127.0.0.1"], NGINX), "203.0.113.9");
        assert_eq!(client("127.0.0.1", &["198.51.100.1"], &[]), "127.0.0.1", "trusting nobody is the default");
    }

    #[test]
    fn m50_the_rightmost_untrusted_hop_is_the_client() {
        assert_eq!(client("127.0.0.1", &["198.51.100.1"], NGINX), "198.51.100.1");
        assert_eq!(client("127.0.0.1", &["6.6.6.6, 198.51.100.1"], NGINX), "198.51.100.1", "the left is the client's own claim");
        assert_eq!(client("127.0.0.1", &["198.51.100.1, 127.0.0.1"], NGINX), "198.51.100.1");
        assert_eq!(client("127.0.0.1", &["6.6.6.6", "198.51.100.1"], NGINX), "198.51.100.1", "two header lines are one list");
        assert_eq!(client("127.0.0.1", &["198.51.100.1, 10.1.2.3"], &["127.0.0.1", "10.0.0.0/8"]), "198.51.100.1");
        assert_eq!(client("127.0.0.1", &["127.0.0.1"], NGINX), "127.0.0.1", "all hops trusted: the left-most of them");
        assert_eq!(client("::1", &["[2001:db8::7]:443"], NGINX), "2001:db8::7");
        assert_eq!(client("127.0.0.1", &["198.51.100.1:5000"], NGINX), "198.51.100.1");
    }

    #[test]
    fn m50_garbage_gives_the_socket_peer() {
        for garbage in ["", "unknown", "198.51.100.1,", "1.2.3", "1.2.3.4.5", "a,b", "198.51.100.1, \u{0}", "0x7f.1", "[::1", "::1%lo"] {
            assert_eq!(client("127.0.0.1", &[garbage], NGINX), "127.0.0.1", "{garbage:?}");
        }
        assert_eq!(client("127.0.0.1", &["garbage, 198.51.100.1"], NGINX), "198.51.100.1", "what stands left of the client is not read");
        assert_eq!(client("127.0.0.1", &[], NGINX), "127.0.0.1");
    }

    #[test]
    fn m50_a_hundred_hops_are_cut_at_sixteen() {
        let list = vec!["127.0.0.1"; 100].join(",");
        assert_eq!(client("127.0.0.1", &[&format!("198.51.100.1,{list}")], NGINX), "127.0.0.1");
    }

    #[test]
    fn m43_all_spellings_of_an_address_are_one_key() {
        let key = |text: &str| limit_key(text.parse().unwrap());
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_eq!(key("2001:db8:0:1::a"), key("2001:db8:0:1:ffff::b"));
        assert_ne!(key("2001:db8:0:1::a"), key("2001:db8:0:2::a"));
        assert_eq!(client("::ffff:192.0.2.1", &[], &[]), "192.0.2.1");
    }

    #[test]
    fn ranges_are_read_strictly() {
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/", "localhost"] {
            assert_eq!(bad.parse::<Cidr>(), Err(BadCidr), "{bad}");
        }
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("8.8.8.8".parse().unwrap()));
        assert!(!all.contains("2001:db8::1".parse().unwrap()));
        assert!("::ffff:10.0.0.1".parse::<Cidr>().unwrap().contains("10.0.0.1".parse().unwrap()));
    }
}
