//! Which addresses are of the public internet, and which lead into somebody's own net. Pure.
//!
//! The author of a function chooses the name, whoever owns the name chooses the address: without this, a name could point a function
//! at the node itself, at what stands beside it, or at the credentials that a cloud hands to its machines.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Not public by IANA's registry of special purposes: this host, private, shared (CGNAT; one cloud's metadata is in there), loopback,
/// link-local (the metadata of most clouds), protocol assignments, documentation, 6to4 relays, benchmarks, multicast, reserved.
const CLOSED_V4: [([u8; 4], u32); 16] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
    // A public address that is another one in every machine of Azure: its host's agent.
    ([168, 63, 129, 16], 32),
];

/// Inside of what is global unicast: protocol assignments (Teredo among them), and documentation twice.
const CLOSED_V6: [([u16; 2], u32); 3] = [([0x2001, 0], 23), ([0x2001, 0xdb8], 32), ([0x3fff, 0], 20)];

/// Whether an address is one that any machine of the internet could ask.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !CLOSED_V4.iter().any(|(net, length)| (bits ^ Ipv4Addr::from(*net).to_bits()) >> (32 - length) == 0)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Where another address is inside, that is where it leads.
    if let Some(inside) = inside(address) {
        return is_public_v4(inside);
    }
    let [first, second, ..] = address.segments();
    let head = u32::from(first) << 16 | u32::from(second);
    let closed = |([a, b], length): &([u16; 2], u32)| (head ^ (u32::from(*a) << 16 | u32::from(*b))) >> (32 - length) == 0;
    // Only 2000::/3 is given out. Loopback, link-local, private (ULA) and multicast are all outside of it.
    first >> 13 == 0b001 && !CLOSED_V6.iter().any(closed)
}

/// IPv4-mapped, NAT64 (a net without IPv4 of its own shows it this way), 6to4.
fn inside(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_internet_can_ask_is_public() {
        for public in ["8.8.8.8", "100.63.255.255", "100.128.0.0", "172.32.0.1", "168.63.129.17", "2606:4700::1111", "2a00:1450::1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for closed in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.1.2.3",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.251",
            "239.255.255.250",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::fb",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "64:ff9b:1::1",
        ] {
            assert!(!is_public(closed.parse().unwrap()), "{closed}");
        }
    }

    #[test]
    fn an_address_inside_of_another_counts() {
        for (public, closed) in [
            ("::ffff:8.8.8.8", "::ffff:127.0.0.1"),
            ("::ffff:8.8.8.8", "::ffff:169.254.169.254"),
            ("64:ff9b::8.8.8.8", "64:ff9b::10.0.0.1"),
            ("2002:808:808::1", "2002:7f00:1::1"),
            // An older notation of IPv4 inside, which nobody gives out.
            ("2606:4700::1", "::127.0.0.1"),
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
            assert!(!is_public(closed.parse().unwrap()), "{closed}");
        }
    }
}
