//! From text to the lines' meaning.

use holdfast_proto::Value;

use super::{
    super::{Format, FormatError},
    data,
};

/// What one line says, and where it begins.
pub(super) struct Item {
    pub(super) line: usize,
    pub(super) what: What,
}

pub(super) enum What {
    /// `[key]`: the values that follow are its.
    Key(Vec<String>),
    /// `[-key]`
    DeleteKey(Vec<String>),
    /// `"name"=data`; no name: `@`.
    Value(Option<String>, Value),
    /// `"name"=-`
    DeleteValue(Option<String>),
}

pub(super) fn scan(text: &str) -> Result<Vec<Item>, FormatError> {
    let mut scanner = Scanner {
        rest: text,
        line: 1,
    };
    scanner.header()?;
    let mut items = Vec::new();
    let mut in_key = false;
    loop {
        scanner.skip_blank();
        let line = scanner.line;
        let what = match scanner.rest.chars().next() {
            None => return Ok(items),
            Some('[') => scanner.key()?,
            Some('"' | '@') if in_key => scanner.value()?,
            Some('"' | '@') => {
                return Err(syntax(line, "a value needs a [key] line above it"));
            }
            Some(_) => {
                return Err(syntax(
                    line,
                    "expected [key], \"name\"=value, @=value or a comment after ';'",
                ));
            }
        };
        in_key = !matches!(what, What::DeleteKey(_)) && (in_key || matches!(what, What::Key(_)));
        items.push(Item { line, what });
    }
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Scanner<'a> {
    fn header(&mut self) -> Result<(), FormatError> {
        while self.peek_line().trim().is_empty() && !self.rest.is_empty() {
            self.take_line();
        }
        let line = self.line;
        match self.take_line().trim() {
            "Windows Registry Editor Version 5.00" => Ok(()),
            "REGEDIT4" => Err(syntax(
                line,
                "REGEDIT4 files carry no Unicode; export again as version 5.00",
            )),
            _ => Err(syntax(
                line,
                "the first line must be \"Windows Registry Editor Version 5.00\"",
            )),
        }
    }

    /// Passes empty lines, comments and leading blanks.
    fn skip_blank(&mut self) {
        loop {
            let line = self.peek_line();
            let trimmed = line.trim_start();
            if trimmed.trim_end().is_empty() || trimmed.starts_with(';') {
                if self.rest.is_empty() {
                    return;
                }
                self.take_line();
            } else {
                self.rest = &self.rest[line.len() - trimmed.len()..];
                return;
            }
        }
    }

    fn peek_line(&self) -> &'a str {
        self.rest
            .split_once('\n')
            .map_or(self.rest, |(line, _)| line)
    }

    fn take_line(&mut self) -> &'a str {
        match self.rest.split_once('\n') {
            Some((line, rest)) => {
                self.rest = rest;
                self.line += 1;
                line
            }
            None => std::mem::take(&mut self.rest),
        }
    }

    fn key(&mut self) -> Result<What, FormatError> {
        let place = self.line;
        let line = self.take_line().trim();
        // A key's name may hold ']' itself, and so may a comment.
        let end = match line.strip_suffix(']') {
            Some(inner) if !inner.contains("];") && !inner.contains("] ;") => Some(inner.len()),
            _ => line
                .match_indices(']')
                .map(|(end, _)| end)
                .find(|end| line[end + 1..].trim_start().starts_with(';')),
        };
        let end = end.ok_or_else(|| syntax(place, "a [key] line ends with ']'"))?;
        let path = &line[1..end];
        let (path, deleted) = match path.strip_prefix('-') {
            Some(path) => (path, true),
            None => (path, false),
        };
        let parts: Vec<String> = path.split('\\').map(str::to_owned).collect();
        if parts.iter().any(String::is_empty) || !path.to_ascii_uppercase().starts_with("HKEY_") {
            return Err(syntax(
                place,
                "a key begins with its hive, as in [HKEY_LOCAL_MACHINE\\SOFTWARE\\Name], and no \
                 part of it is empty",
            ));
        }
        Ok(if deleted {
            What::DeleteKey(parts)
        } else {
            What::Key(parts)
        })
    }

    fn value(&mut self) -> Result<What, FormatError> {
        let name = match self.rest.strip_prefix('@') {
            Some(rest) => {
                self.rest = rest;
                None
            }
            None => Some(self.quoted()?).filter(|name| !name.is_empty()),
        };
        self.skip_spaces();
        self.rest = self
            .rest
            .strip_prefix('=')
            .ok_or_else(|| syntax(self.line, "a value's name is followed by '='"))?;
        self.skip_spaces();
        if self.rest.starts_with('"') {
            let text = self.quoted()?;
            self.end_of_line()?;
            return Ok(What::Value(name, Value::Text(text)));
        }
        if let Some(rest) = self.rest.strip_prefix('-') {
            self.rest = rest;
            self.end_of_line()?;
            return Ok(What::DeleteValue(name));
        }
        let place = self.line;
        let (kind, behind) = self.peek_line().split_once(':').ok_or_else(|| {
            syntax(
                place,
                "after '=' comes \"text\", dword:, hex:, hex(N): or '-'",
            )
        })?;
        self.rest = &self.rest[self.peek_line().len() - behind.len()..];
        let value = match kind.trim().to_ascii_lowercase().as_str() {
            "dword" => data::dword(without_comment(self.take_line()))
                .map_err(|detail| syntax(place, detail))?,
            kind => {
                let kind = data::kind(kind).map_err(|detail| syntax(place, detail))?;
                let bytes = self.hex()?;
                data::value(kind, bytes).map_err(|detail| syntax(place, detail))?
            }
        };
        Ok(What::Value(name, value))
    }

    /// A text in quotes. It may hold line breaks; `\\` and `\"` are escapes.
    fn quoted(&mut self) -> Result<String, FormatError> {
        let opened = self.line;
        let mut text = String::new();
        let mut characters = self.rest[1..].chars();
        loop {
            match characters.next() {
                Some('"') => break,
                Some('\\') => match characters.next() {
                    Some(escaped @ ('"' | '\\')) => text.push(escaped),
                    _ => {
                        return Err(syntax(
                            self.line,
                            "a backslash in text is doubled (\\\\), or stands before a quote",
                        ));
                    }
                },
                Some(character) => {
                    self.line += usize::from(character == '\n');
                    text.push(character);
                }
                None => return Err(syntax(opened, "the quote that opens here is not closed")),
            }
        }
        self.rest = characters.as_str();
        Ok(text)
    }

    /// Bytes in hexadecimal, over as many lines as end with a backslash.
    fn hex(&mut self) -> Result<Vec<u8>, FormatError> {
        let mut bytes = Vec::new();
        loop {
            let place = self.line;
            if self.rest.is_empty() && !bytes.is_empty() {
                return Err(syntax(place, "the file ends where a line should go on"));
            }
            let line = without_comment(self.take_line());
            let (digits, goes_on) = match line.strip_suffix('\\') {
                Some(digits) => (digits.trim_end(), true),
                None => (line, false),
            };
            for pair in digits
                .split(',')
                .map(str::trim)
                .filter(|pair| !pair.is_empty())
            {
                let fits = pair.len() <= 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
                let byte = u8::from_str_radix(pair, 16).ok().filter(|_| fits);
                bytes.push(byte.ok_or_else(|| {
                    syntax(
                        place,
                        "bytes are two hexadecimal digits each, with commas between",
                    )
                })?);
            }
            if !goes_on {
                return Ok(bytes);
            }
        }
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn end_of_line(&mut self) -> Result<(), FormatError> {
        let place = self.line;
        match without_comment(self.take_line()) {
            "" => Ok(()),
            _ => Err(syntax(
                place,
                "only a comment after ';' may follow a value; is a quote missing?",
            )),
        }
    }
}

fn without_comment(line: &str) -> &str {
    line.split(';').next().unwrap_or_default().trim()
}

fn syntax(line: usize, detail: impl Into<String>) -> FormatError {
    FormatError::syntax(Some(line), Format::Reg, detail)
}
