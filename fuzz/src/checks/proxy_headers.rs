//! Headers of the PROXY protocol: read as another reader does, in one piece as in many, and written so that both read
//! what was meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serin::proxy_protocol::{Header, ProxyVersion, parse, put};

/// One beginning of a connection.
pub fn proxy_protocol(input: &[u8]) {
    let read = parse(input);
    if let Ok(Some((header, len))) = read {
        assert!(len <= input.len() && len <= BYTES_MAX);
        assert_eq!(other_reader(&input[..len]), Some(header), "another reader disagrees");
        // Nothing behind it counts, and nothing before its end was enough.
        assert_eq!(parse(&input[..len]), read);
        for end in 0..len {
            assert_eq!(parse(&input[..end]), Ok(None), "{end} of {len} bytes");
        }
        if let Header::Relayed { source, destination } = header {
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                check_written(version, source, destination);
            }
        }
    }
    if read == Ok(None) {
        assert!(input.len() < BYTES_MAX, "it waits for more than it may");
    }
    if read.is_err() {
        let more = [input, b"\r\n\0\0\0\0"].concat();
        assert_eq!(parse(&more), read, "what was refused is taken with more bytes");
    }
}

fn check_written(version: ProxyVersion, source: SocketAddr, destination: SocketAddr) {
    let mut out = Vec::new();
    put(version, source, destination, &mut out);
    let (header, len) = parse(&out).expect("it is ours").expect("it is whole");
    assert_eq!(len, out.len());
    assert_eq!(other_reader(&out), Some(header));
    let Header::Relayed {
        source: a,
        destination: b,
    } = header
    else {
        panic!("{version:?} lost the addresses");
    };
    for (sent, meant) in [(a, source), (b, destination)] {
        assert_eq!(sent.ip().to_canonical(), meant.ip().to_canonical());
        assert_eq!(sent.port(), meant.port());
    }
}

/// A whole header, read by the text of haproxy's proxy-protocol.txt and nothing else; it takes more than we do.
fn other_reader(header: &[u8]) -> Option<Header> {
    if let Some(line) = header.strip_prefix(b"PROXY ") {
        let line = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
        let words: Vec<&str> = line.split(' ').collect();
        return match *words.as_slice() {
            ["UNKNOWN", ..] => Some(Header::Unknown),
            ["TCP4", from, to, from_port, to_port] => relayed(
                (IpAddr::V4(from.parse::<Ipv4Addr>().ok()?), from_port.parse().ok()?),
                (IpAddr::V4(to.parse::<Ipv4Addr>().ok()?), to_port.parse().ok()?),
            ),
            ["TCP6", from, to, from_port, to_port] => relayed(
                (IpAddr::V6(from.parse::<Ipv6Addr>().ok()?), from_port.parse().ok()?),
                (IpAddr::V6(to.parse::<Ipv6Addr>().ok()?), to_port.parse().ok()?),
            ),
            _ => None,
        };
    }
    let rest = header.strip_prefix(b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a")?;
    let (&[command, family, high, low], rest) = rest.split_first_chunk::<4>()?;
    if rest.len() != usize::from(high) * 256 + usize::from(low) || command >> 4 != 2 {
        return None;
    }
    match (command & 15, family) {
        (0, _) => Some(Header::Own),
        (1, 0x11) => {
            let (block, _) = rest.split_first_chunk::<12>()?;
            let ip = |at: usize| IpAddr::from([block[at], block[at + 1], block[at + 2], block[at + 3]]);
            relayed((ip(0), port(block, 8)), (ip(4), port(block, 10)))
        }
        (1, 0x21) => {
            let (block, _) = rest.split_first_chunk::<36>()?;
            let ip = |at: usize| {
                let octets: [u8; 16] = block[at..at + 16].try_into().expect("sixteen");
                IpAddr::from(octets)
            };
            relayed((ip(0), port(block, 32)), (ip(16), port(block, 34)))
        }
        (1, _) => Some(Header::Unknown),
        _ => None,
    }
}

fn relayed(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Option<Header> {
    Some(Header::Relayed {
        source: source.into(),
        destination: destination.into(),
    })
}

fn port(block: &[u8], at: usize) -> u16 {
    u16::from(block[at]) << 8 | u16::from(block[at + 1])
}

/// No header that we take is longer.
const BYTES_MAX: usize = 4_096;
