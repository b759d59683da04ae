//! Bodies in chunks (RFC 9112 §7.1): sizes, extensions, data and trailers, as they come.

use bytes::{Buf, BytesMut};

use super::body::{Part, take_up_to};
use super::grammar::{is_text_byte, is_token_byte};
use super::refusal::Refusal;
use super::section::{HeadLimits, Section};
use crate::head::Fields;

/// Digits of a size: those of 64 bits. More could only be zeros.
const SIZE_DIGITS_MAX: u8 = 16;
/// Extensions of one chunk; nobody sends any.
const EXTENSION_BYTES_MAX: usize = 256;
/// Extensions of all chunks of a body: they are work without content.
const EXTENSIONS_BYTES_MAX: usize = 16 * 1024;
/// Trailers are few.
const TRAILER_LIMITS: HeadLimits = HeadLimits {
    bytes: 16 * 1024,
    fields: 64,
    target_bytes: 0,
};

/// Where in a chunked body the next byte stands.
#[derive(Clone, Debug, Default)]
pub(super) struct ChunkedDecoder {
    place: Place,
    /// The size of the chunk; then how much of it is to come.
    size: u64,
    /// Digits of the size so far.
    digits: u8,
    /// Bytes of extensions, of this chunk and of all.
    extension: usize,
    extensions: usize,
}

#[derive(Clone, Debug)]
enum Place {
    /// In what surrounds the data, one byte after the other.
    Line(Line),
    Data,
    /// Behind the last chunk's size.
    Last,
    Trailers(Box<Section>),
    Done,
}

#[derive(Clone, Copy, Debug)]
enum Line {
    /// Before or among the digits of a size.
    Size,
    /// In the extensions that follow a size (§7.1.1).
    Extension(Extension),
    /// Behind the CR of a size.
    SizeEnd,
    /// Behind the data, then behind the CR there.
    DataEnd,
    DataEndLf,
    /// Behind the CR of a trailer section without fields.
    LastLf,
}

impl Default for Place {
    fn default() -> Self {
        Self::Line(Line::Size)
    }
}

/// Where in `chunk-ext`.
#[derive(Clone, Copy, Debug)]
enum Extension {
    /// Behind `;`, then among the bytes of a name.
    NameStart,
    Name,
    /// Behind `=`, then among the bytes of a token or of a quoted string.
    ValueStart,
    Token,
    Quoted,
    /// Behind a backslash.
    QuotedPair,
    QuotedEnd,
}

impl ChunkedDecoder {
    /// Takes the next part off the front of `buf`.
    pub(super) fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Part>, Refusal> {
        loop {
            match &mut self.place {
                Place::Data => {
                    let data = take_up_to(buf, &mut self.size);
                    if self.size == 0 {
                        self.place = Place::Line(Line::DataEnd);
                    }
                    return Ok(data.map(Part::Data));
                }
                Place::Last => match buf.first() {
                    None => return Ok(None),
                    Some(b'\r') => {
                        buf.advance(1);
                        self.place = Place::Line(Line::LastLf);
                    }
                    Some(_) => self.place = Place::Trailers(Box::default()),
                },
                Place::Trailers(section) => {
                    if !section.read_fields(buf, TRAILER_LIMITS, |_| Ok(()))? {
                        return Ok(None);
                    }
                    let (len, entries) = section.take();
                    self.place = Place::Done;
                    let fields = Fields::from_parts(buf.split_to(len).freeze(), entries);
                    return Ok(Some(Part::Trailers(Box::new(fields))));
                }
                Place::Done => return Ok(None),
                Place::Line(_) if buf.is_empty() => return Ok(None),
                Place::Line(_) => self.read_line(buf)?,
            }
        }
    }

    /// Whether the trailer section is over.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.place, Place::Done)
    }

    /// Reads up to the end of the line, or of `buf`.
    fn read_line(&mut self, buf: &mut BytesMut) -> Result<(), Refusal> {
        let mut read = 0;
        while let (Place::Line(line), Some(&byte)) = (&self.place, buf.get(read)) {
            self.place = self.step(*line, byte)?;
            read += 1;
        }
        buf.advance(read);
        Ok(())
    }

    /// Where the byte after `byte` stands.
    fn step(&mut self, line: Line, byte: u8) -> Result<Place, Refusal> {
        match (line, byte) {
            (Line::Size, _) => self.step_in_size(byte),
            (Line::Extension(extension), _) => self.step_in_extension(extension, byte),
            (Line::SizeEnd, b'\n') if self.size > 0 => Ok(Place::Data),
            (Line::SizeEnd, b'\n') => Ok(Place::Last),
            (Line::DataEnd, b'\r') => Ok(Place::Line(Line::DataEndLf)),
            (Line::DataEndLf, b'\n') => Ok(Place::Line(Line::Size)),
            (Line::LastLf, b'\n') => Ok(Place::Done),
            (Line::SizeEnd | Line::LastLf, _) => Err(Refusal::LineEnd),
            (Line::DataEnd | Line::DataEndLf, _) => Err(Refusal::ChunkEnd),
        }
    }

    /// `chunk-size = 1*HEXDIG` (§7.1).
    fn step_in_size(&mut self, byte: u8) -> Result<Place, Refusal> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\n' => return Err(Refusal::LineEnd),
            b'\r' if self.digits > 0 => return Ok(self.end_size()),
            b';' if self.digits > 0 => return self.extend(Extension::NameStart),
            _ => return Err(Refusal::ChunkSize),
        };
        self.digits += 1;
        self.size = self.size << 4 | u64::from(digit);
        if self.digits > SIZE_DIGITS_MAX || self.size >> 63 != 0 {
            return Err(Refusal::ChunkSize);
        }
        Ok(Place::Line(Line::Size))
    }

    /// `chunk-ext = *( ";" chunk-ext-name [ "=" chunk-ext-val ] )` (§7.1.1), without the white space that only
    /// recipients of old know.
    fn step_in_extension(&mut self, place: Extension, byte: u8) -> Result<Place, Refusal> {
        let next = match (place, byte) {
            (Extension::Name | Extension::Token | Extension::QuotedEnd, b'\r') => return Ok(self.end_size()),
            (Extension::Name | Extension::Token | Extension::QuotedEnd, b';') => Extension::NameStart,
            (Extension::Name, b'=') => Extension::ValueStart,
            (Extension::NameStart | Extension::Name, _) if is_token_byte(byte) => Extension::Name,
            (Extension::ValueStart, b'"') => Extension::Quoted,
            (Extension::ValueStart | Extension::Token, _) if is_token_byte(byte) => Extension::Token,
            (Extension::Quoted, b'"') => Extension::QuotedEnd,
            (Extension::Quoted, b'\\') => Extension::QuotedPair,
            (Extension::Quoted | Extension::QuotedPair, _) if is_text_byte(byte) => Extension::Quoted,
            (_, b'\n') => return Err(Refusal::LineEnd),
            _ => return Err(Refusal::ChunkExtension),
        };
        self.extend(next)
    }

    /// Counts a byte of an extension.
    fn extend(&mut self, place: Extension) -> Result<Place, Refusal> {
        self.extension += 1;
        self.extensions += 1;
        if self.extension > EXTENSION_BYTES_MAX || self.extensions > EXTENSIONS_BYTES_MAX {
            return Err(Refusal::ChunkExtensionsTooLarge);
        }
        Ok(Place::Line(Line::Extension(place)))
    }

    /// Behind the CR of a size; the next size begins anew.
    fn end_size(&mut self) -> Place {
        self.digits = 0;
        self.extension = 0;
        Place::Line(Line::SizeEnd)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{ChunkedDecoder, EXTENSION_BYTES_MAX, Part, Refusal};

    /// The content and the trailers, in pieces of `size` bytes.
    fn decode(input: &[u8], size: usize) -> Result<String, Refusal> {
        let (mut decoder, mut buf, mut out) = (ChunkedDecoder::default(), BytesMut::new(), String::new());
        for piece in input.chunks(size) {
            buf.extend_from_slice(piece);
            while let Some(part) = decoder.decode(&mut buf)? {
                match part {
                    Part::Data(data) => out += &data.escape_ascii().to_string(),
                    Part::Trailers(fields) => {
                        for (name, value) in fields.iter() {
                            out += &format!("|{}={}", name.escape_ascii(), value.escape_ascii());
                        }
                    }
                }
            }
        }
        out += if decoder.is_done() { "" } else { "..." };
        Ok(out + &buf.escape_ascii().to_string())
    }

    #[track_caller]
    fn check(input: impl AsRef<[u8]>, expected: Result<&str, Refusal>) {
        let input = input.as_ref();
        for size in [input.len(), 1, 2, 3] {
            assert_eq!(
                decode(input, size).as_deref(),
                expected.as_ref().copied(),
                "{}",
                input.escape_ascii()
            );
        }
    }

    #[test]
    fn content_is_what_the_sizes_say() {
        check("3\r\nabc\r\n0\r\n\r\n", Ok("abc"));
        check("3\r\nabc\r\n00A\r\n0123456789\r\n0000\r\n\r\n", Ok("abc0123456789"));
        check("0\r\n\r\n", Ok(""));
        check("5\r\nab", Ok("ab..."));
        check("1\r\na\r\n0\r\n", Ok("a..."));
        check("7fffffffffffffff\r\na", Ok("a..."));
    }

    #[test]
    fn sizes_are_hexadecimal_and_below_2_to_the_63() {
        for bad in [
            "\r",
            " ",
            "+",
            "-",
            "x",
            ";",
            "0x",
            "1 ",
            "1\t",
            "g",
            "1.",
            "8000000000000000",
            "00000000000000001",
        ] {
            check(bad, Err(Refusal::ChunkSize));
        }
        check("1\n", Err(Refusal::LineEnd));
        check("1\rx", Err(Refusal::LineEnd));
        check("\n", Err(Refusal::LineEnd));
    }

    #[test]
    fn chunks_end_where_their_size_says() {
        for bad in ["1\r\nab", "1\r\na\n", "1\r\na\ra"] {
            check(bad, Err(Refusal::ChunkEnd));
        }
    }

    #[test]
    fn extensions_follow_their_grammar_and_say_nothing() {
        for good in [";a", ";a=b", ";a;b=c", ";a=\"\"", ";a=\"b;\t\\\"\\\\\u{e9}\";c", ";!=~"] {
            check(format!("1{good}\r\nx\r\n0{good}\r\n\r\n"), Ok("x"));
        }
        for bad in [
            "1; ",
            "1;;",
            "1;=",
            "1;a ",
            "1;a==",
            "1;a=\r",
            "1;a=;",
            "1;a=\"\"b",
            "1;a=b\"",
            "1;a\0",
            "1;a=\"\0",
            "1;a=\"\\\r",
            "1;\r",
        ] {
            check(bad, Err(Refusal::ChunkExtension));
        }
        for bad in ["1;a\n", "1;a=\"\n", "1;a\rb"] {
            check(bad, Err(Refusal::LineEnd));
        }
    }

    #[test]
    fn extensions_are_bounded_in_a_chunk_and_in_a_body() {
        let chunk = |len: usize| format!("1;{}\r\nx\r\n", "a".repeat(len - 1));
        check(chunk(EXTENSION_BYTES_MAX) + "0\r\n\r\n", Ok("x"));
        check(
            format!("1;{}", "a".repeat(EXTENSION_BYTES_MAX)),
            Err(Refusal::ChunkExtensionsTooLarge),
        );
        check(chunk(256).repeat(64) + "0\r\n\r\n", Ok(&"x".repeat(64)));
        check(chunk(256).repeat(64) + "1;", Err(Refusal::ChunkExtensionsTooLarge));
    }

    #[test]
    fn trailers_are_fields() {
        check("0\r\nX-A: b \r\nc:\r\n\r\n", Ok("|x-a=b|c="));
        check("0\r\nx-a: b\r\n", Ok("...x-a: b\\r\\n"));
        check("0\r\n a: b\r\n", Err(Refusal::Fold));
        check("0\r\na : b\r\n", Err(Refusal::SpaceBeforeColon));
        check("0\r\na: b\n", Err(Refusal::LineEnd));
        check("0\r\n\n", Err(Refusal::LineEnd));
        check("0\r\n\rx", Err(Refusal::LineEnd));
        check(format!("0\r\n{}", "a: b\r\n".repeat(65)), Err(Refusal::TooManyFields));
        check(
            format!("0\r\na: {}", "b".repeat(16 * 1024 - 3)),
            Err(Refusal::HeadTooLarge),
        );
    }

    #[test]
    fn what_follows_belongs_to_the_next_message() {
        check("1\r\nx\r\n0\r\n\r\nGET", Ok("xGET"));
        check("0\r\na: b\r\n\r\nGET", Ok("|a=bGET"));
    }
}
