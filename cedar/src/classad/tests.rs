use proptest::prelude::*;

use super::*;
use crate::wire::Form;

fn literal() -> impl Strategy<Value = Value> {
    prop_oneof![
        r#"[ -~é"\\]{0,20}"#.prop_map(Value::String),
        any::<i64>().prop_map(Value::Integer),
        prop::num::f64::NORMAL.prop_map(Value::Real),
        any::<bool>().prop_map(Value::Boolean),
        Just(Value::Undefined),
        Just(Value::Expression("a + 1".to_owned())),
    ]
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Plain), Just(Form::Encrypted)]
}

proptest! {
    #[test]
    fn decoding_is_the_inverse_of_encoding(
        attributes in prop::collection::vec(("[a-zA-Z_][a-zA-Z0-9_]{0,9}", literal()), 0..9),
        form in form(),
    ) {
        let mut ad = Ad::new();
        for (name, value) in attributes {
            ad.set(&name, value);
        }
        let mut message = Encoder::new(form);
        ad.encode(&mut message).unwrap();
        let mut decoder = Decoder::new(form, message.body());
        let decoded = Ad::decode(&mut decoder).unwrap();
        prop_assert!(decoder.is_at_end());
        let types = ["MyType", "TargetType"].iter().all(|name| ad.get(name).is_none());
        prop_assert!(!types || decoded == ad);
    }

    #[test]
    fn no_bytes_break_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..300), form in form()) {
        let _ = Ad::decode(&mut Decoder::new(form, &bytes));
    }

    #[test]
    fn text_that_is_read_and_written_and_read_is_the_same(text in "[ -~]{0,30}") {
        let value = Value::read(text.trim());
        if let Ok(written) = value.literal() {
            prop_assert_eq!(Value::read(&written), value);
        }
    }
}

#[test]
fn literals_are_told_from_expressions() {
    for (text, value) in [
        ("12", Value::Integer(12)),
        ("-3", Value::Integer(-3)),
        ("1.5E+03", Value::Real(1500.0)),
        ("TRUE", Value::Boolean(true)),
        ("Undefined", Value::Undefined),
        (r#""a \"b\" c:\d""#, Value::from(r#"a "b" c:\d"#)),
        (r#""x\\""#, Value::from(r"x\\")),
        ("", Value::Expression(String::new())),
        ("1+2", Value::Expression("1+2".to_owned())),
        ("inf", Value::Expression("inf".to_owned())),
        (r#""a" + "b""#, Value::Expression(r#""a" + "b""#.to_owned())),
    ] {
        assert_eq!(Value::read(text), value, "{text}");
    }
}

#[test]
fn a_secret_attribute_does_not_shift_the_others() {
    let mut message = Encoder::new(Form::Plain);
    message.integer(2);
    for text in ["ZKM", "ClaimId = \"secret\"", "Name = \"a\"", "Machine", ""] {
        message.string(text).unwrap();
    }
    let ad = Ad::decode(&mut Decoder::new(Form::Plain, message.body())).unwrap();
    assert_eq!(ad.string("claimid"), Some("secret"));
    assert_eq!(ad.string("NAME"), Some("a"));
    assert_eq!(ad.string("MyType"), Some("Machine"));
    assert!(!format!("{ad:?}").contains("secret"));
}

#[test]
fn a_negotiation_has_a_hundred_literals_at_most() {
    let encode = |ad: &Ad| ad.encode_negotiated(&mut Encoder::new(Form::Plain));
    let mut ad = Ad::new();
    for number in 0..100 {
        ad.set(&format!("A{number}"), 1);
    }
    encode(&ad).unwrap();
    ad.set("A0", Value::Expression("1+2".to_owned()));
    encode(&ad).unwrap_err();
    ad.set("A0", 0);
    ad.set("A100", 1);
    encode(&ad).unwrap_err();
    for bad in ["", "a b", "1a", "a=b"] {
        let mut ad = Ad::new();
        ad.set(bad, 1);
        encode(&ad).unwrap_err();
    }
}
