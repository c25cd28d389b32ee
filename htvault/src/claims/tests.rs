//! Claims and forms of tokens, ordinary and odd.

use super::*;
use proptest::prelude::*;

fn jwt(payload: &str) -> String {
    format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(payload))
}

#[test]
fn a_wlcg_token_is_read() {
    let claims = Claims::read(&jwt(
        r#"{"iss":"https://issuer.test/","sub":"cmsprod","aud":"https://wlcg.cern.ch/jwt/v1/any",
            "exp":1795334948,"nbf":1795331348,"iat":1795331348,"jti":"a-b","wlcg.ver":"1.0",
            "scope":"storage.read:/ storage.create:/store/temp/user"}"#,
    ))
    .unwrap();
    assert_eq!(claims.audience, ["https://wlcg.cern.ch/jwt/v1/any"]);
    assert_eq!(
        claims.scopes,
        ["storage.read:/", "storage.create:/store/temp/user"]
    );
    assert_eq!(claims.expires.unwrap().as_second(), 1_795_334_948);
    assert_eq!(claims.id.as_deref(), Some("a-b"));
    assert_eq!(claims.wlcg_version.as_deref(), Some("1.0"));
    assert!(claims.odd.is_empty(), "{:?}", claims.odd);
}

#[test]
fn lists_and_fractions_are_read_and_missing_claims_are_none() {
    let claims = Claims::read(&jwt(r#"{"aud":["a","b"],"exp":1795334948.7,"jti":null}"#)).unwrap();
    assert_eq!(claims.audience, ["a", "b"]);
    assert_eq!(claims.expires.unwrap().as_second(), 1_795_334_948);
    assert_eq!(claims.subject, None);
    assert!(claims.odd.is_empty(), "{:?}", claims.odd);
}

#[test]
fn a_token_that_is_not_signed_is_told_from_others() {
    for (header, unsigned) in [
        (r#"{"alg":"none"}"#, true),
        (r#"{"typ":"JWT","alg":"NoNe"}"#, true),
        (r#"{"alg":"ES256"}"#, false),
        (r#"{"alg":7}"#, false),
        ("{}", false),
        ("no JSON", false),
    ] {
        let header = BASE64_URL_SAFE_NO_PAD.encode(header);
        for signature in ["", "c2ln"] {
            let claims = Claims::read(&format!("{header}.e30.{signature}")).unwrap();
            assert_eq!(claims.unsigned, unsigned, "{header}");
        }
    }
}

#[test]
fn a_claim_of_an_odd_type_is_named_without_its_value_and_harms_no_other() {
    for (odd, named) in [
        (r#""exp":"1795334948""#, "exp: a string"),
        (r#""exp":1795334948000"#, "exp: milliseconds"),
        (r#""jti":71"#, "jti: a number"),
        (r#""sub":{"x":"secret"}"#, "sub: an object"),
        (r#""wlcg.ver":1.0"#, "wlcg.ver: a number"),
        (
            r#""aud":["a",7]"#,
            "aud: a list with other values than strings",
        ),
        (r#""scope":7"#, "scope: a number"),
        (r#""iat":1e300"#, "iat: a number that is no time"),
        (r#""nbf":true"#, "nbf: a boolean"),
        (r#""iss":["a"]"#, "iss: a list"),
    ] {
        // Of two claims of one name the last counts.
        let text = format!(r#"{{"iss":"i","sub":"s","exp":1795334948,"jti":"j",{odd}}}"#);
        let claims = Claims::read(&jwt(&text)).unwrap();
        assert_eq!(claims.odd, [named], "{odd}");
        assert_eq!(claims.expires.unwrap().as_second(), 1_795_334_948, "{odd}");
        if !odd.contains("jti") {
            assert_eq!(claims.id.as_deref(), Some("j"), "{odd}");
        }
    }
    let claims = Claims::read(&jwt(r#"{"sub":1234,"jti":71,"wlcg.ver":1.0}"#)).unwrap();
    assert_eq!(claims.subject.as_deref(), Some("1234"));
    assert_eq!(claims.id.as_deref(), Some("71"));
    assert_eq!(claims.wlcg_version.as_deref(), Some("1.0"));
}

#[test]
fn opaque_and_broken_tokens_have_no_claims() {
    for token in ["", "opaque", "a.b", "a.b.c.d", "e30.!!.x", "e30.e30=.x"] {
        assert_eq!(Claims::read(token), None, "{token}");
    }
    assert_eq!(Claims::read(&jwt("[]")), None);
}

#[test]
fn the_form_of_a_token_is_found() {
    let whole = jwt(r#"{"exp":1795334948}"#);
    for (text, form) in [
        ("abc", TokenForm::Opaque),
        ("ya29.a0AfH6", TokenForm::Opaque),
        ("a+b/c~==", TokenForm::Opaque),
        ("eyJhbGciOiJSU0EifQ.a.b.c.d", TokenForm::Opaque),
        ("", TokenForm::NotAToken),
        ("==", TokenForm::NotAToken),
        ("a=b", TokenForm::NotAToken),
        ("a b", TokenForm::NotAToken),
        ("a\0b", TokenForm::NotAToken),
        ("\u{1b}[31m", TokenForm::NotAToken),
        ("<html>", TokenForm::NotAToken),
        ("a.b.c", TokenForm::NotAToken),
        ("eyJhbGciOiJSU0EifQ", TokenForm::NotAToken),
        ("eyJhbGciOiJSU0EifQ.eyJ", TokenForm::NotAToken),
    ] {
        assert_eq!(TokenForm::of(text), form, "{text:?}");
    }
    assert!(matches!(
        TokenForm::of(&format!("{whole}\n")),
        TokenForm::Jwt(_)
    ));
}

proptest! {
    #[test]
    fn nothing_panics_and_no_value_is_named(
        name in prop::sample::select(vec!["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "scope", "wlcg.ver"]),
        value in prop::sample::select(vec!["null", "true", "-1e308", "12345678", "\"12345678\"", "[12345678]", "{\"a\":12345678}"]),
        text in ".{0,80}",
    ) {
        let _ = TokenForm::of(&text);
        let claims = Claims::read(&jwt(&format!("{{\"{name}\":{value}}}"))).unwrap();
        prop_assert!(!claims.odd.join("").contains("12345678"));
    }
}
