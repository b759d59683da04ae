//! Texts cut to what a service takes. Pure.

/// At most `max` characters of `text`, each as `escape` writes it and counted as written; `…` marks a cut.
pub(super) fn fit(text: &str, max: usize, escape: impl Fn(char) -> Option<&'static str>) -> String {
    let mut fitted = String::with_capacity(text.len().min(max * 4));
    let mut count = 0;
    // Where a cut leaves room for its mark.
    let mut cut = 0;
    for character in text.chars() {
        let written = escape(character);
        count += written.map_or(1, str::len);
        if count > max {
            fitted.truncate(cut);
            fitted.push('…');
            return fitted;
        }
        match written {
            Some(written) => fitted.push_str(written),
            None => fitted.push(character),
        }
        if count < max {
            cut = fitted.len();
        }
    }
    fitted
}

/// Plain text on one line or more: control characters but ends of line become spaces.
pub(super) fn plain(text: &str, max: usize) -> String {
    fit(text, max, |character| {
        (character.is_control() && character != '\n').then_some(" ")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_cut_with_a_mark() {
        let check = |text: &str, expected: &str| assert_eq!(plain(text, 5), expected);
        check("", "");
        check("hello", "hello");
        check("hello!", "hell…");
        check("a\tb\nc", "a b\nc");
        check("ééééé", "ééééé");
        check("éééééé", "éééé…");
    }

    #[test]
    fn what_is_escaped_is_never_cut_in_two() {
        let escape = |character| (character == '<').then_some("&lt;");
        assert_eq!(fit("a<", 5, escape), "a&lt;");
        assert_eq!(fit("a<b", 5, escape), "a…");
        assert_eq!(fit("<<", 5, escape), "&lt;…");
    }

    proptest! {
        #[test]
        fn a_text_fits(text in ".*", max in 1_usize..50) {
            let escape = |character| (character == '&').then_some("&amp;");
            prop_assert!(fit(&text, max, escape).chars().count() <= max);
        }
    }
}
