//! Which addresses may be connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A set of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// All.
    Any,
    /// Those of this machine alone.
    Machine,
    /// Those of the internet, none of a network of one's own.
    Public,
    /// Those, and the ones of this machine and of networks of one's own; never such as a cloud's
    /// metadata service has.
    Private,
}

/// Of whose network an address is.
#[derive(PartialEq, Eq)]
enum Network {
    /// It names no single host that anybody is served by.
    Nobodys,
    Machine,
    Own,
    Internet,
}

impl Addresses {
    /// Whether this address is one of them.
    pub fn take(self, address: IpAddr) -> bool {
        let network = network(address.to_canonical());
        match self {
            Self::Any => true,
            Self::Machine => network == Network::Machine,
            Self::Public => network == Network::Internet,
            Self::Private => network != Network::Nobodys,
        }
    }
}

fn network(address: IpAddr) -> Network {
    match address {
        IpAddr::V4(address) => network_v4(address),
        IpAddr::V6(address) => network_v6(address),
    }
}

fn network_v4(address: Ipv4Addr) -> Network {
    let [a, b, c, d] = address.octets();
    match (a, b, c) {
        // Where clouds answer a machine about itself, outside of the link-local addresses.
        _ if matches!([a, b, c, d], [100, 100, 100, 200] | [168, 63, 129, 16]) => Network::Nobodys,
        (127, ..) => Network::Machine,
        (10, ..) | (192, 168, _) | (172, 16..=31, _) | (100, 64..=127, _) => Network::Own,
        // This network, link-local, IETF's, documentation, benchmarks, 6to4 relays, multicast, reserved.
        (0 | 224..=255, ..)
        | (169, 254, _)
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (198, 18 | 19, _)
        | (198, 51, 100)
        | (203, 0, 113) => Network::Nobodys,
        _ => Network::Internet,
    }
}

fn network_v6(address: Ipv6Addr) -> Network {
    let [first, second, ..] = address.segments();
    match first {
        _ if address.is_loopback() => Network::Machine,
        // Where clouds answer a machine about itself.
        0xfd00 if second == 0xec2 => Network::Nobodys,
        0xfd20 if second == 0xce => Network::Nobodys,
        0xfc00..=0xfdff => Network::Own,
        // What is not handed out as unicast; Teredo, documentation and 6to4, which lead elsewhere.
        _ if !(0x2000..=0x3fff).contains(&first) => Network::Nobodys,
        0x2001 if second < 0x200 || second == 0xdb8 => Network::Nobodys,
        0x2002 | 0x3fff => Network::Nobodys,
        _ => Network::Internet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ones_own_is_reached_only_where_said() {
        let takes = |set: Addresses, text: &str| set.take(text.parse().unwrap());
        for (internet, address) in [
            (true, "93.184.216.34"),
            (true, "2606:2800:220:1::1"),
            (false, "127.0.0.1"),
            (false, "::1"),
            (false, "10.1.2.3"),
            (false, "172.31.0.1"),
            (true, "172.32.0.1"),
            (false, "192.168.1.1"),
            (false, "100.100.0.1"),
            (false, "fd00::1"),
            (false, "::ffff:10.0.0.1"),
            (false, "::ffff:169.254.169.254"),
        ] {
            assert_eq!(takes(Addresses::Public, address), internet, "{address}");
            assert!(takes(Addresses::Any, address));
        }
        for nobodys in [
            "169.254.169.254",
            "100.100.100.200",
            "fd00:ec2::254",
            "fe80::1",
            "fe80::a9fe:a9fe",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001:0:7f00:1::",
            "::ffff:169.254.169.254",
        ] {
            assert!(!takes(Addresses::Private, nobodys), "{nobodys}");
            assert!(!takes(Addresses::Public, nobodys), "{nobodys}");
        }
        for own in ["10.0.0.1", "127.0.0.1", "::1", "fd12::1", "::ffff:10.0.0.1"] {
            assert!(takes(Addresses::Private, own), "{own}");
        }
        assert!(takes(Addresses::Machine, "127.8.0.1"));
        assert!(takes(Addresses::Machine, "::ffff:127.0.0.1"));
        assert!(!takes(Addresses::Machine, "10.0.0.1"));
        assert!(!takes(Addresses::Machine, "93.184.216.34"));
    }
}
