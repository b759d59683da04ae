//! The `date` field, rendered once a second.

use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;

/// The last second's rendering.
#[derive(Debug, Default)]
pub(super) struct Date {
    second: u64,
    line: Vec<u8>,
    /// Of `value_second`.
    value: Bytes,
    value_second: u64,
}

impl Date {
    /// Writes the field for `second`, in Unix time (RFC 9110 §5.6.7, IMF-fixdate).
    pub(super) fn put(&mut self, second: u64, out: &mut Vec<u8>) {
        if self.second != second || self.line.is_empty() {
            self.second = second;
            self.line.clear();
            let date = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(second));
            let _ = write!(self.line, "date: {date}\r\n"); // a Vec takes everything
        }
        out.extend_from_slice(&self.line);
    }

    /// The field's value alone, shared by all answers of a second.
    pub(super) fn value(&mut self, second: u64) -> Bytes {
        if self.value_second != second || self.value.is_empty() {
            self.value_second = second;
            let date = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(second));
            self.value = date.to_string().into();
        }
        self.value.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn each_second_has_its_own() {
        let mut date = Date::default();
        let mut out = Vec::new();
        for second in [784_111_777, 784_111_777, 784_111_778] {
            date.put(second, &mut out);
        }
        let line = |second| format!("date: Sun, 06 Nov 1994 08:49:{second} GMT\r\n");
        assert_eq!(String::from_utf8_lossy(&out), line(37) + &line(37) + &line(38));
        assert_eq!(date.value(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.value(784_111_778), "Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
