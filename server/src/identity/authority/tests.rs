use x509_parser::prelude::GeneralName;

use super::*;
use crate::identity::Identity;

fn authority() -> CertificateAuthority {
    CertificateAuthority::create("00112233445566778899aabbccddeeff", SystemTime::now()).unwrap()
}

fn public_key() -> PublicKey {
    NodeKey::generate().unwrap().public_key()
}

fn node(authority: &CertificateAuthority, address: &str) -> CertificateDer<'static> {
    let name = "n1".parse().unwrap();
    authority
        .sign_node(&name, &public_key(), address, SystemTime::now())
        .unwrap()
}

#[test]
fn a_node_certificate_carries_its_identity_and_its_address() {
    let authority = authority();
    let der = node(&authority, "10.1.2.3:7101");
    let identity = Identity::from_certificate(&der).unwrap();
    assert_eq!(identity.cluster(), authority.cluster_id());
    assert_eq!(identity.to_string(), "node/n1");
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert!(
        names
            .value
            .general_names
            .contains(&GeneralName::IPAddress(&[10, 1, 2, 3]))
    );
    assert!(!parsed.is_ca());
}

#[test]
fn a_client_certificate_serves_no_one_and_names_its_holder() {
    let authority = authority();
    let der = authority
        .sign_client("admin", &public_key(), SystemTime::now())
        .unwrap();
    assert_eq!(
        Identity::from_certificate(&der).unwrap().to_string(),
        "client/admin"
    );
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    assert!(
        authority
            .sign_client("a/b", &public_key(), SystemTime::now())
            .is_err()
    );
}

/// A request may ask to become an authority; rcgen's own `signed_by` would grant it. Only the key
/// of a request may ever reach a certificate.
#[test]
fn a_request_that_asks_to_be_an_authority_or_somebody_else_gets_neither() {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut wish = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wish.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let request = wish.serialize_request(&pair).unwrap();
    let public_key = PublicKey::from_request(request.der()).unwrap();
    let name = "n7".parse().unwrap();
    let der = authority()
        .sign_node(&name, &public_key, "127.0.0.1:7101", SystemTime::now())
        .unwrap();
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    assert!(!parsed.is_ca());
    assert!(!parsed.key_usage().unwrap().unwrap().value.key_cert_sign());
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    assert!(
        !names
            .value
            .general_names
            .contains(&GeneralName::DNSName("evil.example"))
    );
}

#[test]
fn two_certificates_of_one_key_have_random_serials_of_their_own() {
    let authority = authority();
    let key = public_key();
    let serials: std::collections::BTreeSet<Vec<u8>> = (0..16)
        .map(|_| {
            let der = authority
                .sign_client("admin", &key, SystemTime::now())
                .unwrap();
            let (_, parsed) = X509Certificate::from_der(&der).unwrap();
            parsed.raw_serial().to_vec()
        })
        .collect();
    assert_eq!(serials.len(), 16);
    assert!(
        serials
            .iter()
            .all(|serial| serial.len() == 16 && serial[0] & 0x80 == 0)
    );
}

#[test]
fn an_authority_survives_its_files_and_refuses_a_foreign_key() {
    let (one, two) = (authority(), authority());
    let again = CertificateAuthority::load(&one.certificate_pem(), &one.key().to_pem()).unwrap();
    assert_eq!(
        (again.pin(), again.cluster_id()),
        (one.pin(), one.cluster_id())
    );
    let der = CertificateAuthority::from_der(one.certificate(), &one.key().to_der()).unwrap();
    assert_eq!(der.pin(), one.pin());
    assert!(matches!(
        CertificateAuthority::load(&one.certificate_pem(), &two.key().to_pem()),
        Err(AuthorityError::Mismatch)
    ));
    assert!(matches!(
        CertificateAuthority::load(&to_pem(&node(&one, "h:1")), &one.key().to_pem()),
        Err(AuthorityError::Certificate(_))
    ));
}

#[test]
fn hosts_are_told_from_ports_and_nonsense_is_refused() {
    assert_eq!(host_of("db-1.example:7101"), Some("db-1.example"));
    assert_eq!(host_of("[::1]:7101"), Some("::1"));
    for bad in [
        "",
        "host",
        ":7101",
        "host:",
        "host:99999",
        "::1:7101",
        "[host]:1",
    ] {
        assert_eq!(host_of(bad), None, "{bad:?} was taken");
    }
}
