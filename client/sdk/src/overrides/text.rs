//! The text of an override, as `client/sdk/OVERRIDE.md` has it. Everything before the certificate is what
//! is signed, to the byte.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;

use super::{OverrideError, OverrideFormat, proof::Proof};

/// What is signed.
pub(super) struct Document {
    pub(super) cluster: String,
    pub(super) prefix: String,
    pub(super) signer: String,
    pub(super) signed: SystemTime,
    pub(super) expires: SystemTime,
    pub(super) reason: String,
    pub(super) format: OverrideFormat,
    pub(super) fields: String,
}

impl Document {
    pub(super) fn to_text(&self) -> Result<String, OverrideError> {
        let lines = [
            ("cluster", self.cluster.clone()),
            ("prefix", self.prefix.clone()),
            ("signer", self.signer.clone()),
            ("signed", time(self.signed)?),
            ("expires", time(self.expires)?),
            ("reason", self.reason.clone()),
            ("format", format_name(self.format).to_owned()),
        ];
        let mut text = format!("{MAGIC}\n");
        for (name, value) in lines {
            if value.chars().any(char::is_control) {
                return Err(malformed(format!("its {name} is more than a line")));
            }
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push('\n');
        text.push_str(&self.fields);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    }

    pub(super) fn parse(signed: &str) -> Result<Self, OverrideError> {
        let mut rest = signed;
        let mut line = || {
            let (line, after) = rest
                .split_once('\n')
                .ok_or_else(|| malformed("it ends too early"))?;
            rest = after;
            Ok::<_, OverrideError>(line)
        };
        match line()? {
            MAGIC => {}
            other if other.starts_with(MAGIC_OF_ANY_VERSION) => {
                return Err(malformed("it is of a newer version; update this program"));
            }
            _ => return Err(malformed("it does not begin as one")),
        }
        let mut field = |name: &str| {
            let line = line()?;
            let value = line.strip_prefix(name).and_then(|it| it.strip_prefix(": "));
            // A prefix may be empty, and editors cut blanks.
            let value =
                value.or_else(|| line.strip_suffix(':').filter(|it| *it == name).map(|_| ""));
            let value =
                value.ok_or_else(|| malformed(format!("its {name} is not where it should be")))?;
            Ok::<_, OverrideError>(value.to_owned())
        };
        let (cluster, prefix, signer) = (field("cluster")?, field("prefix")?, field("signer")?);
        let (signed, expires) = (
            parse_time(&field("signed")?)?,
            parse_time(&field("expires")?)?,
        );
        let (reason, format) = (field("reason")?, parse_format(&field("format")?)?);
        if !line()?.is_empty() {
            return Err(malformed("an empty line must come before its fields"));
        }
        Ok(Self {
            cluster,
            prefix,
            signer,
            signed,
            expires,
            reason,
            format,
            fields: rest.to_owned(),
        })
    }
}

/// The whole file.
pub(super) fn with_proof(signed: &str, proof: &Proof) -> String {
    let mut text = format!("{signed}{BEGIN}\n");
    let body = BASE64_STANDARD.encode(&proof.certificate);
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|&byte| char::from(byte)));
        text.push('\n');
    }
    let signature = BASE64_STANDARD.encode(&proof.signature);
    text.push_str(&format!("{END}\n{SIGNATURE}{signature}\n"));
    text
}

/// What is signed, and the proof behind it.
pub(super) fn split(text: &str) -> Result<(&str, Proof), OverrideError> {
    // The last one: a field may hold a certificate, too.
    let mark = format!("\n{BEGIN}\n");
    let at = text
        .rfind(&mark)
        .ok_or_else(|| malformed("it has no certificate"))?;
    let (signed, rest) = (&text[..=at], &text[at + mark.len()..]);
    let (certificate, rest) = rest
        .split_once(END)
        .ok_or_else(|| malformed("its certificate has no end"))?;
    let signature = rest.trim();
    let signature = signature
        .strip_prefix(SIGNATURE.trim_end())
        .ok_or_else(|| malformed("it has no signature"))?;
    let bytes = |text: &str, what: &str| {
        let text: String = text.split_whitespace().collect();
        let bytes = BASE64_STANDARD.decode(text);
        bytes.map_err(|_| malformed(format!("its {what} is no base64")))
    };
    let proof = Proof {
        certificate: bytes(certificate, "certificate")?,
        signature: bytes(signature, "signature")?,
    };
    Ok((signed, proof))
}

fn time(at: SystemTime) -> Result<String, OverrideError> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).ok();
    let at = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let at = at.ok_or_else(|| malformed("its time makes no sense"))?;
    Ok(at.to_string())
}

fn parse_time(text: &str) -> Result<SystemTime, OverrideError> {
    let at: Option<Timestamp> = text.parse().ok();
    let seconds = at.and_then(|at| u64::try_from(at.as_second()).ok());
    let seconds =
        seconds.ok_or_else(|| malformed("a time in it is not like 2026-11-25T18:00:00Z"))?;
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn format_name(format: OverrideFormat) -> &'static str {
    match format {
        OverrideFormat::Toml => "toml",
        OverrideFormat::Json => "json",
    }
}

fn parse_format(text: &str) -> Result<OverrideFormat, OverrideError> {
    match text {
        "toml" => Ok(OverrideFormat::Toml),
        "json" => Ok(OverrideFormat::Json),
        _ => Err(malformed("its fields are neither toml nor json")),
    }
}

fn malformed(why: impl Into<String>) -> OverrideError {
    OverrideError::Malformed(why.into())
}

/// Also keeps what is signed here apart from all else that such keys sign.
const MAGIC: &str = "holdfast emergency override 1";
const MAGIC_OF_ANY_VERSION: &str = "holdfast emergency override ";
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
const SIGNATURE: &str = "signature: ";
