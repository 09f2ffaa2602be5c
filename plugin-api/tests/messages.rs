//! What the compiler tells an author who gets the trait or the macro wrong.

#[test]
fn mistakes_get_helpful_messages() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
}
