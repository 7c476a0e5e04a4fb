//! The ranges of addresses that may not be called, and who may call some of them all the same. A table, and nothing
//! else.
//!
//! They are those of the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190) as they stand in
//! 2025, the last additions being 5f00::/16 (RFC 9602), 3fff::/20 (RFC 9637) and 100:0:0:1::/64 (RFC 9780), and the
//! metadata services of the large clouds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is, and who may call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Special {
    pub(super) range: &'static str,
    /// False where nobody may.
    pub(super) private: bool,
}

/// Refused unless the operator vouches for it: in dev, or by name.
const PRIVATE: bool = true;
/// Refused all the same.
const NEVER: bool = false;

/// Network, prefix length, what it is, and whether it is private. The first that fits counts.
type Range<A> = (A, u32, &'static str, bool);

const V4: [Range<Ipv4Addr>; 21] = [
    // Alibaba's and Azure's; that of most others is link-local.
    (Ipv4Addr::new(100, 100, 100, 200), 32, "a metadata service", NEVER),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a metadata service", NEVER),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback", PRIVATE),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private", PRIVATE),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private", PRIVATE),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private", PRIVATE),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared address space (CGNAT)", PRIVATE),
    (Ipv4Addr::new(0, 0, 0, 0), 8, "unspecified", NEVER),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local", NEVER),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved for protocols", NEVER),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "documentation", NEVER),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "documentation", NEVER),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "documentation", NEVER),
    (Ipv4Addr::new(192, 31, 196, 0), 24, "AS112", NEVER),
    (Ipv4Addr::new(192, 175, 48, 0), 24, "AS112", NEVER),
    (Ipv4Addr::new(192, 52, 193, 0), 24, "AMT", NEVER),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "6to4 relay", NEVER),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "benchmarking", NEVER),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast", NEVER),
    (Ipv4Addr::new(255, 255, 255, 255), 32, "broadcast", NEVER),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved", NEVER),
];

const V6: [Range<Ipv6Addr>; 22] = [
    // Amazon's, Oracle's, Scaleway's, Akamai's and Google's.
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32, "a metadata service", NEVER),
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0, 0), 32, "a metadata service", NEVER),
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128, "a metadata service", NEVER),
    (Ipv6Addr::new(0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 0), 48, "a metadata service", NEVER),
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0), 32, "a metadata service", NEVER),
    (Ipv6Addr::LOCALHOST, 128, "loopback", PRIVATE),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "unique local (ULA)", PRIVATE),
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified", NEVER),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, "IPv4-mapped", NEVER),
    (Ipv6Addr::UNSPECIFIED, 96, "IPv4-compatible", NEVER),
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96, "NAT64", NEVER),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "local-use NAT64", NEVER),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local", NEVER),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "site-local", NEVER),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast", NEVER),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, "Teredo", NEVER),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, "benchmarking", NEVER),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved for protocols", NEVER),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation", NEVER),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation", NEVER),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "6to4", NEVER),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, "AS112", NEVER),
];

/// The one block that holds global unicast addresses (RFC 4291).
const GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What `address` is, if it is anything but global unicast.
pub(super) fn special(address: IpAddr) -> Option<Special> {
    let found = match address {
        IpAddr::V4(v4) => V4.iter().find(|range| holds_v4(range, v4)).map(|range| (range.2, range.3)),
        IpAddr::V6(v6) => special_v6(v6),
    };
    found.map(|(range, private)| Special { range, private })
}

fn special_v6(address: Ipv6Addr) -> Option<(&'static str, bool)> {
    let known = V6.iter().find(|range| holds_v6(range.0, range.1, address)).map(|range| (range.2, range.3));
    let isatap = || is_isatap(address).then_some(("ISATAP", NEVER));
    known.or_else(isatap).or_else(|| (!holds_v6(GLOBAL.0, GLOBAL.1, address)).then_some(("not global unicast", NEVER)))
}

/// True where the lower half says that an IPv4 address follows (RFC 5214, section 6.1).
fn is_isatap(address: Ipv6Addr) -> bool {
    let [.., group, marker, _, _] = address.segments();
    group & 0xfdff == 0 && marker == 0x5efe
}

fn holds_v4((network, prefix, ..): &Range<Ipv4Addr>, address: Ipv4Addr) -> bool {
    (network.to_bits() ^ address.to_bits()).leading_zeros() >= *prefix
}

const fn holds_v6(network: Ipv6Addr, prefix: u32, address: Ipv6Addr) -> bool {
    (network.to_bits() ^ address.to_bits()).leading_zeros() >= prefix
}
