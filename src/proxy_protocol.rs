//! The PROXY protocol: for whom a connection is, in front of its first byte. Pure; sections are those of haproxy's
//! proxy-protocol.txt.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A version of the PROXY protocol (haproxy's proxy-protocol.txt §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text (§2.1).
    V1,
    /// Binary (§2.2).
    V2,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The peer's own connection, such as a health check (§2.2 `LOCAL`).
    Own,
    /// Relayed for somebody whose address the peer does not know, or who is not on TCP over IP (§2.1 `UNKNOWN`; §2.2,
    /// the other families).
    Unknown,
    /// A relayed connection.
    Relayed {
        /// Who connected to the peer.
        source: SocketAddr,
        /// Where that was.
        destination: SocketAddr,
    },
}

/// Why what came is no header that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each variant is explained by its message
pub enum Malformed {
    #[error("it begins with no PROXY protocol header")]
    Signature,
    #[error("the line does not end within {V1_BYTES_MAX} bytes")]
    LongLine,
    #[error("the line is not `PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT`")]
    Line,
    #[error("an address of the line is none of its family")]
    Address,
    #[error("a port of the line is no number of 0 to 65535")]
    Port,
    #[error("its version or command is unknown")]
    Command,
    #[error("its address family or transport is unknown")]
    Family,
    #[error("it has more than {V2_BYTES_MAX} bytes")]
    Long,
    #[error("it is shorter than its addresses")]
    Short,
    #[error("what follows its addresses is cut off")]
    Tlv,
    #[error("its checksum is wrong")]
    Checksum,
}

/// The longest line, with its end (§2.1).
const V1_BYTES_MAX: usize = 107;
/// The longest binary header: room for a client certificate among what follows the addresses, and no more.
const V2_BYTES_MAX: usize = 4_096;

const V1_BEGIN: &[u8] = b"PROXY ";
/// §2.2: what no HTTP, TLS or text begins with.
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const V2_HEAD_BYTES: usize = 16;
/// §2.2.3.
const TLV_CRC32C: u8 = 0x03;

/// Reads a header at the beginning of `bytes`: what it says, and of how many bytes it was. `None`: more bytes are
/// needed, of at most 4,096 in all.
///
/// # Errors
/// [`Malformed`], as soon as no further bytes could make it a header.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    if begins(bytes, V1_BEGIN) {
        return line(bytes);
    }
    if begins(bytes, V2_SIGNATURE) {
        return binary(bytes);
    }
    Err(Malformed::Signature)
}

/// Whether `bytes` begin with `mark`, as far as they go.
fn begins(bytes: &[u8], mark: &[u8]) -> bool {
    let common = bytes.len().min(mark.len());
    bytes[..common] == mark[..common]
}

/// Version 1 (§2.1).
fn line(bytes: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    let bounded = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = bounded.windows(2).position(|two| two == b"\r\n") else {
        // A receiver that has that many bytes and no end gives up.
        return match bytes.len() < V1_BYTES_MAX {
            true => Ok(None),
            false => Err(Malformed::LongLine),
        };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| Malformed::Line)?;
    let rest = text.strip_prefix("PROXY ").ok_or(Malformed::Line)?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        // Whatever else it says must be ignored.
        return Ok(Some((Header::Unknown, end + 2)));
    }
    // Exactly one space between two of them.
    let mut words = rest.split(' ');
    let mut word = || words.next().ok_or(Malformed::Line);
    let v4 = match word()? {
        "TCP4" => true,
        "TCP6" => false,
        _ => return Err(Malformed::Line),
    };
    let (source, destination) = (address(word()?, v4)?, address(word()?, v4)?);
    let (source_port, destination_port) = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return Err(Malformed::Line);
    }
    let header = Header::Relayed {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    };
    Ok(Some((header, end + 2)))
}

/// §2.1: no leading zeros in IPv4, which the standard library refuses as well.
fn address(text: &str, v4: bool) -> Result<IpAddr, Malformed> {
    let address = match v4 {
        true => text.parse().map(IpAddr::V4),
        false => text.parse().map(IpAddr::V6),
    };
    address.map_err(|_| Malformed::Address)
}

fn port(text: &str) -> Result<u16, Malformed> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let port = plain.then(|| text.parse().ok()).flatten();
    port.ok_or(Malformed::Port)
}

/// Version 2 (§2.2).
fn binary(bytes: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    // The upper half is the version; 0 is LOCAL, 1 is PROXY, and no other may be guessed.
    let local = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Malformed::Command),
    };
    let Some(&kind) = bytes.get(13) else {
        return Ok(None);
    };
    if kind >> 4 > 3 || kind & 0xf > 2 {
        return Err(Malformed::Family);
    }
    let Some(&[high, low]) = bytes.get(14..V2_HEAD_BYTES) else {
        return Ok(None);
    };
    let end = V2_HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if end > V2_BYTES_MAX {
        return Err(Malformed::Long);
    }
    let Some(whole) = bytes.get(..end) else {
        return Ok(None);
    };
    if local {
        // What a LOCAL header carries is skipped, whatever it is.
        return Ok(Some((Header::Own, end)));
    }
    let body = &whole[V2_HEAD_BYTES..];
    let address_bytes = match kind >> 4 {
        0 => body.len(),
        1 => 12,
        2 => 36,
        _ => 216,
    };
    let (addresses, more) = body.split_at_checked(address_bytes).ok_or(Malformed::Short)?;
    check_tlvs(whole, more)?;
    let header = match kind {
        0x11 => Header::Relayed {
            source: SocketAddr::new(v4(&addresses[..4]), port_of(&addresses[8..])),
            destination: SocketAddr::new(v4(&addresses[4..8]), port_of(&addresses[10..])),
        },
        0x21 => Header::Relayed {
            source: SocketAddr::new(v6(&addresses[..16]), port_of(&addresses[32..])),
            destination: SocketAddr::new(v6(&addresses[16..32]), port_of(&addresses[34..])),
        },
        _ => Header::Unknown,
    };
    Ok(Some((header, end)))
}

fn v4(bytes: &[u8]) -> IpAddr {
    let octets: [u8; 4] = bytes.try_into().expect("four bytes were taken");
    IpAddr::V4(Ipv4Addr::from(octets))
}

fn v6(bytes: &[u8]) -> IpAddr {
    let octets: [u8; 16] = bytes.try_into().expect("sixteen bytes were taken");
    IpAddr::V6(Ipv6Addr::from(octets))
}

fn port_of(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

/// What follows the addresses (§2.2.2): each of a type, a length, and so many bytes; all of it. None is used but the
/// checksum (§2.2.3), which must be right where it is given.
fn check_tlvs(whole: &[u8], mut more: &[u8]) -> Result<(), Malformed> {
    while let [kind, rest @ ..] = more {
        let (length, rest) = rest.split_at_checked(2).ok_or(Malformed::Tlv)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let (value, rest) = rest.split_at_checked(length).ok_or(Malformed::Tlv)?;
        if *kind == TLV_CRC32C {
            let told: [u8; 4] = value.try_into().map_err(|_| Malformed::Checksum)?;
            let at = whole.len() - rest.len() - 4;
            if crc32c(whole, at) != u32::from_be_bytes(told) {
                return Err(Malformed::Checksum);
            }
        }
        more = rest;
    }
    Ok(())
}

/// CRC-32C (RFC 3309) of `whole`, of which the four bytes from `at` count as zeros. Bit by bit: few headers have
/// one, and they are short.
fn crc32c(whole: &[u8], at: usize) -> u32 {
    let mut crc = u32::MAX;
    for (index, &byte) in whole.iter().enumerate() {
        crc ^= if (at..at + 4).contains(&index) {
            0
        } else {
            u32::from(byte)
        };
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Writes a header for a connection that `source` made to `destination`. An address of IPv4 beside one of IPv6 is
/// written as IPv6 (RFC 4291 §2.5.5.2).
pub fn put(version: ProxyVersion, source: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let (from, to) = match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (from, to),
        _ => (IpAddr::V6(as_v6(from)), IpAddr::V6(as_v6(to))),
    };
    match version {
        ProxyVersion::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from_port, to_port) = (source.port(), destination.port());
            write!(out, "PROXY {family} {from} {to} {from_port} {to_port}\r\n").expect("a vector takes all");
        }
        ProxyVersion::V2 => {
            out.extend_from_slice(V2_SIGNATURE);
            match (from, to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    out.extend_from_slice(&[0x21, 0x11, 0, 12]);
                    out.extend_from_slice(&from.octets());
                    out.extend_from_slice(&to.octets());
                }
                (from, to) => {
                    out.extend_from_slice(&[0x21, 0x21, 0, 36]);
                    out.extend_from_slice(&as_v6(from).octets());
                    out.extend_from_slice(&as_v6(to).octets());
                }
            }
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
        }
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::{Header, Malformed, ProxyVersion, V2_SIGNATURE, crc32c, parse, put};

    type Said = Result<Option<(Header, usize)>, Malformed>;

    fn relayed(source: &str, destination: &str) -> Header {
        Header::Relayed {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    /// `bytes` say it, with and without something behind; every part of them asks for more.
    #[track_caller]
    fn says(bytes: &[u8], header: Header) {
        assert_eq!(parse(bytes), Ok(Some((header, bytes.len()))));
        let followed = [bytes, b"GET / HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(parse(&followed), Ok(Some((header, bytes.len()))));
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "the first {cut} bytes");
        }
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Said) {
        assert_eq!(parse(bytes), expected, "{}", bytes.escape_ascii());
    }

    #[track_caller]
    fn refused(bytes: &[u8], why: Malformed) {
        check(bytes, Err(why));
    }

    fn v2(command: u8, kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, kind], &length, body].concat()
    }

    const V4_BODY: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x1f, 0x90, 0x01, 0xbb];

    #[test]
    fn a_line_says_who_and_where() {
        let v4 = relayed("192.0.2.7:8080", "198.51.100.1:443");
        says(b"PROXY TCP4 192.0.2.7 198.51.100.1 8080 443\r\n", v4);
        let v6 = relayed("[2001:db8::7]:65535", "[2001:db8::1]:0");
        says(b"PROXY TCP6 2001:db8::7 2001:db8::1 65535 0\r\n", v6);
        says(b"PROXY UNKNOWN\r\n", Header::Unknown);
        says(b"PROXY UNKNOWN whatever it is\r\n", Header::Unknown);
        // The longest of §2.1.
        let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let longest = format!("PROXY UNKNOWN {all} {all} 65535 65535\r\n");
        assert_eq!(longest.len(), 107);
        says(longest.as_bytes(), Header::Unknown);
    }

    #[test]
    fn a_line_that_is_anything_else_is_refused() {
        for text in [
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXY TCP\r\n",
            "PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY tcp4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
            "PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
        ] {
            let said = parse(text.as_bytes());
            assert!(matches!(said, Err(Malformed::Line | Malformed::Signature)), "{text}");
        }
        refused(b"PROXY TCP4 2001:db8::1 198.51.100.1 1 2\r\n", Malformed::Address);
        refused(b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n", Malformed::Address);
        refused(b"PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n", Malformed::Address);
        refused(b"PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n", Malformed::Address);
        refused(b"PROXY TCP4 192.0.2.7  198.51.100.1 1 2\r\n", Malformed::Address);
        refused(b"PROXY TCP6 [::1] ::1 1 2\r\n", Malformed::Address);
        refused(b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", Malformed::Address);
        for port in ["65536", "+1", "-1", "01", "00", "", "0x1", "1\n"] {
            let line = format!("PROXY TCP4 192.0.2.7 198.51.100.1 {port} 2\r\n");
            refused(line.as_bytes(), Malformed::Port);
        }
        refused(b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n\r\n", Malformed::Port);
        refused("PROXY TCP4 192.0.2.7 é 1 2\r\n".as_bytes(), Malformed::Address);
        refused(b"PROXY TCP4 \xff 192.0.2.7 1 2\r\n", Malformed::Line);
    }

    #[test]
    fn a_line_without_end_is_waited_for_as_long_as_it_may_be() {
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
        check(&long[..106], Ok(None));
        refused(&long[..107], Malformed::LongLine);
        let mut late = long[..106].to_vec();
        late.extend_from_slice(b"\r\n");
        refused(&late, Malformed::LongLine);
        check(b"PROXY TCP4 192.0.2.7\n198.51.100.1 1 2\n", Ok(None));
    }

    #[test]
    fn what_is_no_header_is_refused_at_its_first_foreign_byte() {
        for text in [
            "GET / HTTP/1.1\r\n",
            "PRI * HTTP/2.0",
            "\x16\x03\x01",
            "PROX\n",
            "proxy ",
            " PROXY",
            "\r\n\r\nx",
        ] {
            refused(text.as_bytes(), Malformed::Signature);
        }
        check(b"", Ok(None));
        check(b"P", Ok(None));
        refused(b"PR ", Malformed::Signature);
        refused(b"\r\n\r\n\0\r\nQUIX", Malformed::Signature);
    }

    #[test]
    fn a_binary_header_says_who_and_where() {
        let v4 = relayed("192.0.2.7:8080", "198.51.100.1:443");
        says(&v2(0x21, 0x11, &V4_BODY), v4);
        let mut body = vec![0; 36];
        (body[15], body[31], body[33], body[35]) = (7, 1, 80, 81);
        says(&v2(0x21, 0x21, &body), relayed("[::7]:80", "[::1]:81"));
        // §2.2: a health check of the peer's own, whatever it carries.
        says(&v2(0x20, 0x00, b""), Header::Own);
        says(&v2(0x20, 0x11, &V4_BODY), Header::Own);
        says(&v2(0x20, 0x11, b"few"), Header::Own);
        // Unspecified, datagrams, sockets of the file system: their addresses are not ours to use.
        says(&v2(0x21, 0x00, b"anything"), Header::Unknown);
        says(&v2(0x21, 0x12, &V4_BODY), Header::Unknown);
        says(&v2(0x21, 0x22, &[0; 36]), Header::Unknown);
        says(&v2(0x21, 0x31, &[b'/'; 216]), Header::Unknown);
        says(&v2(0x21, 0x10, &V4_BODY), Header::Unknown);
    }

    #[test]
    fn a_binary_header_that_is_anything_else_is_refused() {
        for command in [0x00, 0x01, 0x11, 0x22, 0x2f, 0x31, 0xff] {
            refused(&v2(command, 0x11, &V4_BODY), Malformed::Command);
            refused(&v2(command, 0x11, &V4_BODY)[..13], Malformed::Command);
        }
        for kind in [0x13, 0x41, 0x1f, 0xf1, 0xff] {
            refused(&v2(0x21, kind, &V4_BODY), Malformed::Family);
            refused(&v2(0x20, kind, b"")[..14], Malformed::Family);
        }
        refused(&v2(0x21, 0x11, &V4_BODY[..11]), Malformed::Short);
        refused(&v2(0x21, 0x21, &[0; 35]), Malformed::Short);
        refused(&v2(0x21, 0x31, &[0; 215]), Malformed::Short);
        check(&v2(0x20, 0, &[0; 4_080]), Ok(Some((Header::Own, 4_096))));
        refused(&v2(0x20, 0, &[0; 4_081])[..16], Malformed::Long);
    }

    #[test]
    fn what_follows_the_addresses_is_skipped_by_its_length() {
        let with = |more: &[u8]| v2(0x21, 0x11, &[&V4_BODY, more].concat());
        let header = relayed("192.0.2.7:8080", "198.51.100.1:443");
        says(&with(&[0x01, 0, 2, b'h', b'2', 0x04, 0, 0]), header);
        refused(&with(&[0x01]), Malformed::Tlv);
        refused(&with(&[0x01, 0]), Malformed::Tlv);
        refused(&with(&[0x01, 0, 3, b'h', b'2']), Malformed::Tlv);
        refused(&with(&[0x01, 0, 1, b'h', b'2']), Malformed::Tlv);
    }

    #[test]
    fn a_checksum_that_is_given_must_be_right() {
        // The check value of CRC-32C (RFC 3720 §B.4 has more).
        assert_eq!(crc32c(b"123456789", 100), 0xe306_9283);
        let mut bytes = v2(
            0x21,
            0x11,
            &[&V4_BODY[..], &[0x03, 0, 4, 0, 0, 0, 0, 0x04, 0, 1, 0]].concat(),
        );
        let at = 16 + 12 + 3;
        refused(&bytes, Malformed::Checksum);
        let right = crc32c(&bytes, at).to_be_bytes();
        bytes[at..at + 4].copy_from_slice(&right);
        says(&bytes, relayed("192.0.2.7:8080", "198.51.100.1:443"));
        bytes[20] ^= 1;
        refused(&bytes, Malformed::Checksum);
        refused(
            &v2(0x21, 0x11, &[&V4_BODY[..], &[0x03, 0, 1, 0]].concat()),
            Malformed::Checksum,
        );
    }

    #[test]
    fn mixed_families_are_written_as_the_wider_one() {
        let mut out = Vec::new();
        let (v4, v6) = ("192.0.2.7:1".parse().unwrap(), "[2001:db8::1]:2".parse().unwrap());
        put(ProxyVersion::V1, v4, v6, &mut out);
        assert_eq!(out, b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\n");
        out.clear();
        let mapped = "[::ffff:192.0.2.8]:3".parse().unwrap();
        put(ProxyVersion::V1, v4, mapped, &mut out);
        assert_eq!(out, b"PROXY TCP4 192.0.2.7 192.0.2.8 1 3\r\n");
    }

    fn version() -> impl Strategy<Value = ProxyVersion> {
        prop_oneof![Just(ProxyVersion::V1), Just(ProxyVersion::V2)]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(version in version(), source: SocketAddr, destination: SocketAddr) {
            let mut out = Vec::new();
            put(version, source, destination, &mut out);
            let (header, length) = parse(&out).unwrap().expect("it is whole");
            prop_assert_eq!(length, out.len());
            let Header::Relayed { source: from, destination: to } = header else {
                return Err(TestCaseError::fail("an address was lost"));
            };
            let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
            prop_assert_eq!((plain(from), plain(to)), (plain(source), plain(destination)));
            for cut in 0..out.len() {
                prop_assert_eq!(parse(&out[..cut]), Ok(None));
            }
        }

        #[test]
        fn more_bytes_never_change_an_answer(
            begin in prop_oneof![Just(&b"PROXY "[..]), Just(V2_SIGNATURE), Just(&b""[..])],
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [begin, &rest].concat();
            let mut settled = None;
            for cut in 0..=bytes.len() {
                let said = parse(&bytes[..cut]);
                match settled {
                    Some(before) => prop_assert_eq!(said, before),
                    None if said == Ok(None) => {}
                    None => settled = Some(said),
                }
            }
        }
    }
}
