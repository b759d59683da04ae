//! HTTP/2 frames as bytes, also those that no library would write. Pure.

/// What a client says first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames, RFC 9113, 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// Part of a body.
    Data = 0,
    /// Begins a stream.
    Headers = 1,
    /// Ends a stream at once.
    RstStream = 3,
    /// Settings of the sender.
    Settings = 4,
    /// To be answered.
    Ping = 6,
    /// More window.
    WindowUpdate = 8,
    /// The rest of a field block.
    Continuation = 9,
}

/// The stream ends with this frame.
pub(crate) const END_STREAM: u8 = 1;

/// The field block ends with this frame.
pub(crate) const END_HEADERS: u8 = 4;

/// SETTINGS_INITIAL_WINDOW_SIZE.
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

/// CANCEL, as four bytes of RST_STREAM.
pub(crate) const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// Appends one frame; `payload` has fewer than 2^24 bytes.
pub(crate) fn frame(out: &mut Vec<u8>, kind: Type, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a frame's length fits");
    out.extend_from_slice(&length.to_be_bytes()[1..]);
    out.extend_from_slice(&[kind as u8, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// One setting as the payload of SETTINGS.
pub(crate) fn setting(name: u16, value: u32) -> [u8; 6] {
    let ([n0, n1], [v0, v1, v2, v3]) = (name.to_be_bytes(), value.to_be_bytes());
    [n0, n1, v0, v1, v2, v3]
}

/// The field block of a request for `/` from 127.0.0.1, without a use of the dynamic table (RFC 7541).
pub(crate) fn request(method: Method) -> Vec<u8> {
    // `:scheme: http` and `:path: /` stand in the static table; `:authority` is its first name.
    let mut block = vec![method as u8, 0x86, 0x84, 0x01];
    string(&mut block, b"127.0.0.1");
    block
}

/// Methods of the static table, as an indexed field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Method {
    /// GET
    Get = 0x82,
    /// POST
    Post = 0x83,
}

/// Appends a field with a literal name; with `remembered` it enters the dynamic table.
pub(crate) fn field(block: &mut Vec<u8>, remembered: bool, name: &[u8], value: &[u8]) {
    block.push(if remembered { 0x40 } else { 0x00 });
    string(block, name);
    string(block, value);
}

/// The field that entered the dynamic table last, by its index: one byte.
pub(crate) const NEWEST: u8 = 0x80 | 62;

/// A string without Huffman's code: its length as an integer with a prefix of 7 bits.
fn string(block: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        block.push(rest as u8);
    } else {
        block.push(127);
        rest -= 127;
        while rest >= 128 {
            block.push((rest % 128) as u8 | 0x80);
            rest /= 128;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_nine_bytes_before_its_payload() {
        let mut out = Vec::new();
        frame(&mut out, Type::RstStream, 0, 0x0102_0304, &CANCEL);
        assert_eq!(out, [0, 0, 4, 3, 0, 1, 2, 3, 4, 0, 0, 0, 8]);
    }

    #[test]
    fn a_setting_has_six_bytes() {
        assert_eq!(setting(INITIAL_WINDOW_SIZE, 65_535), [0, 4, 0, 0, 0xff, 0xff]);
    }

    #[test]
    fn the_length_of_a_string_is_an_integer_with_a_prefix() {
        let check = |length: usize, expected: &[u8]| {
            let mut block = Vec::new();
            string(&mut block, &vec![b'a'; length]);
            assert_eq!(&block[..block.len() - length], expected, "{length}");
        };
        check(0, &[0]);
        check(126, &[126]);
        check(127, &[127, 0]);
        // RFC 7541, C.1.2, with another prefix: 1337 = 127 + 1210 = 127 + 9 × 128 + 58.
        check(1337, &[127, 58 | 0x80, 9]);
    }

    #[test]
    fn a_request_is_four_indexed_names_and_its_host() {
        let mut expected = vec![0x82, 0x86, 0x84, 0x01, 9];
        expected.extend_from_slice(b"127.0.0.1");
        assert_eq!(request(Method::Get), expected);
        assert_eq!(request(Method::Post)[0], 0x83);
    }
}
