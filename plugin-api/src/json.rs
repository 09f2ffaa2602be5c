//! Whether bytes are JSON, without making anything of them.
//!
//! Every message is looked at in this way before a handler gets it, whatever its size, so it is made for
//! what messages are: few values, one of them perhaps an image in base64. Strings are passed over many
//! bytes at a time; `serde_json`, which does the same byte by byte, took more time for a large message
//! than all the rest of its way through the host.

use serde::de::IgnoredAny;

/// Whether `text` is one JSON value with nothing but white space around it, as `serde_json` sees it.
///
/// Strings may hold bytes that are not UTF-8: whoever needs that must look.
pub(crate) fn is_json(text: &[u8]) -> bool {
    match (Scanner { rest: text, open: 0, depth: 0 }).document() {
        Ok(()) => true,
        Err(Stop::Malformed) => false,
        // Rare, and no reason to keep a stack of any size here.
        Err(Stop::TooDeep) => serde_json::from_slice::<IgnoredAny>(text).is_ok(),
    }
}

enum Stop {
    Malformed,
    TooDeep,
}

type Scan = Result<(), Stop>;

/// As many levels as [`Scanner::open`] has bits.
const LEVELS: u32 = 64;

struct Scanner<'a> {
    rest: &'a [u8],
    /// A bit for each array and object that is open, the innermost lowest: 1 for an object.
    open: u64,
    depth: u32,
}

impl Scanner<'_> {
    fn document(&mut self) -> Scan {
        loop {
            // Here a value is due. One that opens a level leads back to here, or is empty.
            self.white_space();
            match self.next()? {
                b'"' => self.string()?,
                b'{' => {
                    self.enter(1)?;
                    if !self.closes(b'}') {
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.enter(0)?;
                    if !self.closes(b']') {
                        continue;
                    }
                }
                b't' => self.word(b"rue")?,
                b'f' => self.word(b"alse")?,
                b'n' => self.word(b"ull")?,
                b'-' => {
                    let first = self.next()?;
                    self.number(first)?;
                }
                first => self.number(first)?,
            }
            if !self.after_value()? {
                return Ok(());
            }
        }
    }

    /// Goes on after a value: whether another is due.
    fn after_value(&mut self) -> Result<bool, Stop> {
        loop {
            self.white_space();
            if self.depth == 0 {
                return if self.rest.is_empty() { Ok(false) } else { Err(Stop::Malformed) };
            }
            let in_object = self.open & 1 == 1;
            match self.next()? {
                b',' if in_object => {
                    self.key()?;
                    return Ok(true);
                }
                b',' => return Ok(true),
                b'}' if in_object => self.leave(),
                b']' if !in_object => self.leave(),
                _ => return Err(Stop::Malformed),
            }
        }
    }

    fn enter(&mut self, kind: u64) -> Scan {
        if self.depth == LEVELS {
            return Err(Stop::TooDeep);
        }
        self.open = self.open << 1 | kind;
        self.depth += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.open >>= 1;
        self.depth -= 1;
    }

    /// Whether the level that was just entered is empty; then it is left again.
    fn closes(&mut self, by: u8) -> bool {
        self.white_space();
        let closes = self.rest.first() == Some(&by);
        if closes {
            self.rest = &self.rest[1..];
            self.leave();
        }
        closes
    }

    /// A key and its colon.
    fn key(&mut self) -> Scan {
        self.white_space();
        self.expect(b'"')?;
        self.string()?;
        self.white_space();
        self.expect(b':')
    }

    /// The rest of a string, after its opening quotation mark.
    fn string(&mut self) -> Scan {
        loop {
            self.rest = &self.rest[plain(self.rest)..];
            match self.next()? {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                // A control character.
                _ => return Err(Stop::Malformed),
            }
        }
    }

    fn escape(&mut self) -> Scan {
        match self.next()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => {
                for _ in 0..4 {
                    if !self.next()?.is_ascii_hexdigit() {
                        return Err(Stop::Malformed);
                    }
                }
                Ok(())
            }
            _ => Err(Stop::Malformed),
        }
    }

    /// The rest of a number, after its first digit.
    fn number(&mut self, first: u8) -> Scan {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return Err(Stop::Malformed),
        }
        if self.rest.first() == Some(&b'.') {
            self.rest = &self.rest[1..];
            self.some_digits()?;
        }
        if matches!(self.rest.first(), Some(b'e' | b'E')) {
            self.rest = &self.rest[1..];
            if matches!(self.rest.first(), Some(b'+' | b'-')) {
                self.rest = &self.rest[1..];
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn some_digits(&mut self) -> Scan {
        if !self.next()?.is_ascii_digit() {
            return Err(Stop::Malformed);
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        let end = self.rest.iter().position(|byte| !byte.is_ascii_digit());
        self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
    }

    fn word(&mut self, rest: &[u8]) -> Scan {
        self.rest = self.rest.strip_prefix(rest).ok_or(Stop::Malformed)?;
        Ok(())
    }

    fn white_space(&mut self) {
        while let Some((b' ' | b'\n' | b'\t' | b'\r', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }

    fn expect(&mut self, wanted: u8) -> Scan {
        if self.next()? == wanted { Ok(()) } else { Err(Stop::Malformed) }
    }

    fn next(&mut self) -> Result<u8, Stop> {
        let (byte, rest) = self.rest.split_first().ok_or(Stop::Malformed)?;
        self.rest = rest;
        Ok(*byte)
    }
}

/// How many bytes at the beginning of a string's rest mean themselves.
fn plain(bytes: &[u8]) -> usize {
    // So many that the compiler compares them side by side, without a branch for each.
    const STRIDE: usize = 32;
    let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    let specials = |chunk: &[u8; STRIDE]| {
        // Sums instead of `||`, which would stop at the first.
        chunk.iter().fold(0, |specials, byte| {
            specials | u8::from(*byte < b' ') | u8::from(*byte == b'"') | u8::from(*byte == b'\\')
        })
    };
    let (chunks, _) = bytes.as_chunks::<STRIDE>();
    let clean = chunks.iter().take_while(|chunk| specials(chunk) == 0);
    let passed = clean.count() * STRIDE;
    let rest = &bytes[passed..];
    passed + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_serde_sees_it(text: &[u8]) -> bool {
        serde_json::from_slice::<IgnoredAny>(text).is_ok()
    }

    #[test]
    fn it_agrees_with_serde_json() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let long = "x".repeat(100);
        let texts = [
            "",
            " ",
            "{}",
            "[]",
            " { } ",
            "[ ]",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{,}",
            "[,]",
            "[1,]",
            "[1 2]",
            "{\"a\" 1}",
            "{\"a\"}",
            "{1:2}",
            "{\"a\":}",
            "{\"a\":[{\"b\":[]},{}],\"c\":null}",
            "[}",
            "{]",
            "[1}",
            "{\"a\":1]",
            "]",
            "}",
            "true",
            "tru",
            "truex",
            "true ",
            "false",
            "null",
            "nul",
            "0",
            "-0",
            "-",
            "01",
            "1.",
            "1.5",
            ".5",
            "1e",
            "1e5",
            "1E+5",
            "1e-",
            "-1.5e-10",
            "+1",
            "1 1",
            "\"\"",
            "\"",
            "\"a",
            "\"\\\"\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12aF\"",
            "\"\\ud800\"",
            "\"\\u12g4\"",
            "\"\t\"",
            "\"\u{7f}é\"",
            "\u{feff}{}",
            "[\"a\",\"b\"]\n",
            "NaN",
            "Infinity",
            "'a'",
            "1e400",
            "{\"a\":1}{}",
            "\u{b}1",
        ];
        let texts = texts.map(str::to_owned).into_iter();
        let more = [1, 63, 64, 65, 1000].map(nested);
        let more = more.into_iter().chain([
            format!("\"{long}\""),
            format!("\"{long}\n{long}\""),
            format!("\"{long}\\n{long}\""),
            format!("\"{long}"),
        ]);
        for text in texts.chain(more) {
            assert_eq!(is_json(text.as_bytes()), as_serde_sees_it(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn it_agrees_with_serde_json_on_what_was_spoilt() {
        let good = br#" {"type":"Alert","n":[-1.5e3,0,true,false,null],"s":"a\"b\\c\u00e9 0123456789abcdef0123456789abcdef","o":{"":{}}} "#;
        assert!(is_json(good));
        let spoilers = b"\"\\{}[],:0.-e \n\x01\xff\x80tu";
        for at in 0..good.len() {
            for spoiler in spoilers {
                let mut text = good.to_vec();
                text[at] = *spoiler;
                assert_eq!(is_json(&text), as_serde_sees_it(&text), "{text:?}");
                text.insert(at, *spoiler);
                assert_eq!(is_json(&text), as_serde_sees_it(&text), "{text:?}");
                let cut = &text[..at];
                assert_eq!(is_json(cut), as_serde_sees_it(cut), "{cut:?}");
            }
        }
    }
}
