//! Bytes as readable text, in the table and in reports.

/// What stands behind `>` or `<`: `| text` without a line end, ` text` or nothing with one.
pub fn bytes(rest: &[u8]) -> Result<Vec<u8>, String> {
    match rest {
        [] => Ok(b"\r\n".to_vec()),
        [b'|', b' ', text @ ..] => unescape(text),
        [b' ', text @ ..] => {
            let mut line = unescape(text)?;
            line.extend(b"\r\n");
            Ok(line)
        }
        _ => Err("a space is missing".to_owned()),
    }
}

fn unescape(mut text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        text = rest;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let [kind, rest @ ..] = text else {
            return Err("a backslash at the end".to_owned());
        };
        text = rest;
        match kind {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b's' => out.push(b' '),
            b'0' => out.push(0),
            b'\\' => out.push(b'\\'),
            b'x' => {
                let digits = text.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                out.push(byte.ok_or("no two digits behind \\x")?);
                text = &text[2..];
            }
            b'[' => {
                let end = text.iter().position(|&b| b == b']').ok_or("no ] behind \\[")?;
                let inner = std::str::from_utf8(&text[..end]).map_err(|_| "not UTF-8")?;
                let (count, piece) = inner.split_once('*').ok_or("no * behind \\[")?;
                let count: usize = count.parse().map_err(|_| format!("{count:?} is no number"))?;
                let piece = unescape(piece.as_bytes())?;
                (0..count).for_each(|_| out.extend(&piece));
                text = &text[end + 1..];
            }
            other => return Err(format!("\\{} means nothing", char::from(*other))),
        }
    }
    Ok(out)
}

/// Text for bytes, as in the table, at most `length` characters of it.
pub fn escape(bytes: &[u8], length: usize) -> String {
    let mut text = String::new();
    for &byte in bytes {
        if text.len() >= length {
            text.push_str("...");
            break;
        }
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            0 => text.push_str("\\0"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_they_are_written() {
        let bytes = b"a\\ \r\n\t\0\x7f\xff";
        assert_eq!(unescape(escape(bytes, 100).as_bytes()).as_deref(), Ok(&bytes[..]));
        assert_eq!(escape(b"abcdef", 3), "abc...");
    }
}
