use std::time::{Duration, SystemTime};

use super::*;

macro_rules! pem {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/suite/trust/", $name)).to_vec()
    };
}

const FIELDS: &str = "timeout = 30\n\n[database]\nhost = \"db-2\"\n";
const HOUR: Duration = Duration::from_secs(3_600);

/// `client/admin` of cluster `home`.
fn admin() -> Context {
    Context {
        cluster: "home".to_owned(),
        endpoints: Vec::new(),
        ca: pem!("ca.crt"),
        cert: pem!("client.crt"),
        key: pem!("client.key"),
        ..Context::default()
    }
}

fn terms() -> OverrideTerms {
    OverrideTerms {
        prefix: "billing/".to_owned(),
        lifetime: HOUR,
        reason: "the database moved".to_owned(),
    }
}

/// A time within all certificates, of whole seconds.
fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn signed() -> String {
    sign(&admin(), FIELDS)
}

fn sign(context: &Context, fields: &str) -> String {
    Override::sign(context, &terms(), OverrideFormat::Toml, fields, noon()).unwrap()
}

fn read_at(text: &str, now: SystemTime) -> Result<Override, OverrideError> {
    let known = ["client/admin".to_owned()];
    let authority = Authority::of(&admin());
    Override::read(&authority, "billing/", Some(&known), text, now)
}

fn read(text: &str) -> Result<Override, OverrideError> {
    read_at(text, noon() + Duration::from_secs(60))
}

#[test]
fn what_an_administrator_signed_counts_until_it_runs_out() {
    let text = signed();
    let read = read(&text).unwrap();
    assert_eq!(read.prefix(), "billing/");
    assert_eq!(read.signer(), "client/admin");
    assert_eq!(read.reason(), "the database moved");
    assert_eq!((read.signed(), read.expires()), (noon(), noon() + HOUR));
    assert_eq!(read.fields(), ["timeout", "database/host"]);
    assert!(text.starts_with("holdfast emergency override 1\ncluster: home\n"));

    let last = noon() + HOUR - Duration::from_secs(1);
    assert!(read_at(&text, last).is_ok());
    let late = read_at(&text, noon() + HOUR);
    assert!(matches!(late, Err(OverrideError::Expired(_))), "{late:?}");
    // A clock that is a little behind is no reason to wait.
    assert!(read_at(&text, noon() - Duration::from_secs(299)).is_ok());
    let early = read_at(&text, noon() - Duration::from_secs(301));
    assert!(matches!(early, Err(OverrideError::NotYet(_))), "{early:?}");
}

#[test]
fn no_byte_that_was_signed_can_be_changed() {
    let text = signed();
    let end = text.find("-----BEGIN").unwrap();
    for at in 0..end {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let Ok(changed) = String::from_utf8(bytes) else {
            continue;
        };
        assert!(read(&changed).is_err(), "byte {at} was changed");
    }
    let longer = text.replace("2027-01-15T09:00:00Z", "2027-01-16T09:00:00Z");
    assert_ne!(longer, text);
    let error = read(&longer).unwrap_err();
    assert!(matches!(error, OverrideError::Tampered { .. }), "{error}");
    let more = text.replace("-----BEGIN", "more = 1\n-----BEGIN");
    assert!(matches!(read(&more), Err(OverrideError::Tampered { .. })));
    assert!(!error.to_string().contains("db-2"), "{error}");
}

#[test]
fn the_proof_cannot_be_changed_either() {
    let text = signed();
    let begin = text.find("-----BEGIN").unwrap();
    for at in begin..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 4;
        let Ok(changed) = String::from_utf8(bytes) else {
            continue;
        };
        // Line breaks and blanks of the base64 say nothing, and neither do the last line's.
        if changed.split_whitespace().eq(text.split_whitespace()) {
            continue;
        }
        assert!(read(&changed).is_err(), "byte {at} was changed");
    }
}

#[test]
fn what_is_for_another_cluster_or_prefix_is_refused_by_name() {
    let text = signed();
    let known = ["client/admin".to_owned()];
    let other = Authority::of(&Context {
        cluster: "away".to_owned(),
        ..admin()
    });
    let foreign = Override::read(&other, "billing/", Some(&known), &text, noon());
    assert!(
        matches!(&foreign, Err(OverrideError::ForeignCluster { found, .. }) if found == "home"),
        "{foreign:?}"
    );
    for prefix in ["billing", "billing/x/", ""] {
        let authority = Authority::of(&admin());
        let other = Override::read(&authority, prefix, Some(&known), &text, noon());
        assert!(
            matches!(other, Err(OverrideError::OtherPrefix { .. })),
            "{prefix}"
        );
    }
}

#[test]
fn who_is_no_administrator_or_not_known_as_one_does_not_count() {
    let text = signed();
    let authority = Authority::of(&admin());
    let read = |known: Option<&[String]>| {
        Override::read(&authority, "billing/", known, &text, noon()).unwrap_err()
    };
    let nobody = read(None);
    assert!(matches!(
        nobody,
        OverrideError::AdministratorsUnknown { .. }
    ));
    let others = ["client/administrator".to_owned(), "admin".to_owned()];
    let other = read(Some(&others));
    assert!(
        matches!(&other, OverrideError::NotAdministrator { signer } if signer == "client/admin"),
        "{other}"
    );
}

#[test]
fn a_certificate_of_a_node_or_of_another_authority_signs_nothing() {
    let node = Context {
        cert: pem!("node.crt"),
        key: pem!("node.key"),
        ..admin()
    };
    let refused = Override::sign(&node, &terms(), OverrideFormat::Toml, FIELDS, noon());
    assert!(matches!(refused, Err(OverrideError::Untrusted(_))));

    // Its own text and signature, with the certificate of somebody else.
    let certificate = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
    let text = signed();
    let (head, rest) = text.split_at(text.find("-----BEGIN").unwrap());
    let signature = rest.lines().last().unwrap();
    for (name, pem) in [
        ("forged", pem!("forged.crt")),
        ("node", pem!("node.crt")),
        ("away", pem!("away.crt")),
    ] {
        let swapped = format!("{head}{}{signature}\n", certificate(&pem));
        let error = read(&swapped).unwrap_err();
        let is_named = matches!(
            error,
            OverrideError::Untrusted(_) | OverrideError::Tampered { .. }
        );
        assert!(is_named, "{name}: {error}");
    }
    // Signed well, by a key whose certificate another authority gave out.
    let stranger = Authority::of(&Context {
        ca: pem!("stranger.crt"),
        ..admin()
    });
    let known = ["client/admin".to_owned()];
    let error = Override::read(&stranger, "billing/", Some(&known), &text, noon()).unwrap_err();
    assert!(matches!(error, OverrideError::Untrusted(_)), "{error}");
    // And one that is not valid any more.
    let late = noon() + Duration::from_secs(200 * 365 * 24 * 3_600);
    let error = read_at(&text, late).unwrap_err();
    assert!(matches!(error, OverrideError::Untrusted(_)), "{error}");
}

#[test]
fn nobody_signs_in_the_name_of_another_administrator() {
    let document = Document {
        cluster: "home".to_owned(),
        prefix: "billing/".to_owned(),
        signer: "client/chief".to_owned(),
        signed: noon(),
        expires: noon() + HOUR,
        reason: "why".to_owned(),
        format: OverrideFormat::Toml,
        fields: FIELDS.to_owned(),
    };
    let signed = document.to_text().unwrap();
    let proof = Signer::new(&admin()).unwrap();
    let proof = proof.sign(signed.as_bytes()).unwrap();
    let text = text::with_proof(&signed, &proof);
    let known = ["client/chief".to_owned(), "client/admin".to_owned()];
    let authority = Authority::of(&admin());
    let error = Override::read(&authority, "billing/", Some(&known), &text, noon()).unwrap_err();
    assert!(
        matches!(&error, OverrideError::OtherSigner { found, .. } if found == "client/admin"),
        "{error}"
    );
}

#[test]
fn nothing_is_signed_for_more_than_a_day_or_without_a_reason_or_with_odd_fields() {
    let sign = |terms: OverrideTerms, fields| {
        Override::sign(&admin(), &terms, OverrideFormat::Toml, fields, noon()).unwrap_err()
    };
    let long = OverrideTerms {
        lifetime: 24 * HOUR + Duration::from_secs(1),
        ..terms()
    };
    assert!(matches!(sign(long, FIELDS), OverrideError::TooLong));
    for reason in ["", "  ", "one\ntwo"] {
        let unreasoned = OverrideTerms {
            reason: reason.to_owned(),
            ..terms()
        };
        assert!(matches!(
            sign(unreasoned, FIELDS),
            OverrideError::Malformed(_)
        ));
    }
    for fields in ["", "a = ", "\"a/b\" = 1", "\"a@role:x\" = 1", "a = inf"] {
        let error = sign(terms(), fields);
        assert!(
            matches!(error, OverrideError::Fields(_)),
            "{fields}: {error}"
        );
    }
}

#[test]
fn a_certificate_among_the_fields_is_one_of_the_fields() {
    let pem = String::from_utf8(pem!("node.crt")).unwrap();
    let fields = format!("authority = '''\n{pem}'''\n");
    let read = read(&sign(&admin(), &fields)).unwrap();
    assert_eq!(read.tree()["authority"], pem);
}

#[test]
fn what_shows_an_override_shows_no_value() {
    let shown = format!("{:?}", read(&signed()).unwrap());
    assert!(
        shown.contains("database/host") && !shown.contains("db-2"),
        "{shown}"
    );
    let damaged = sign(&admin(), "secret = \"hunter2\"\n").replace("hunter2\"", "hunter2");
    let shown = read(&damaged).unwrap_err().to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
    let error = fields::parse(OverrideFormat::Toml, "a = hunter2").unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

proptest::proptest! {
    /// Whatever lies there is refused in words.
    #[test]
    fn no_text_is_taken_that_nobody_signed(
        garbage in ".{0,300}",
        at in 0..2_000_usize,
        cut in 0..2_000_usize,
    ) {
        proptest::prop_assert!(read(&garbage).is_err());
        let text = signed();
        let end = text.floor_char_boundary(at.min(text.len()));
        let rest = text.floor_char_boundary((end + cut).min(text.len()));
        let spliced = format!("{}{garbage}{}", &text[..end], &text[rest..]);
        let is_blank = spliced.split_whitespace().eq(text.split_whitespace());
        // Blanks among the base64 say nothing.
        if spliced != text && !is_blank {
            proptest::prop_assert!(read(&spliced).is_err(), "{spliced}");
        }
    }
}
