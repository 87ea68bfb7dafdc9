//! What is fetched from, as tables.

use super::*;

/// IPv4 addresses, and whether everyone can reach them: the ends of every range, and what lies beside them.
const V4: &[(&str, bool)] = &[
    ("8.8.8.8", true),
    ("1.1.1.1", true),
    ("9.255.255.255", true),
    ("10.0.0.0", false),
    ("10.255.255.255", false),
    ("11.0.0.0", true),
    ("0.0.0.0", false),
    ("0.1.2.3", false),
    ("100.63.255.255", true),
    ("100.64.0.0", false),
    ("100.100.100.200", false),
    ("100.127.255.255", false),
    ("100.128.0.0", true),
    ("127.0.0.1", false),
    ("127.255.255.254", false),
    ("168.63.129.16", false),
    ("168.63.129.17", true),
    ("169.253.255.255", true),
    ("169.254.0.1", false),
    ("169.254.169.254", false),
    ("169.254.170.2", false),
    ("172.15.255.255", true),
    ("172.16.0.1", false),
    ("172.31.255.255", false),
    ("172.32.0.0", true),
    ("192.0.0.1", false),
    ("192.0.0.192", false),
    ("192.0.1.0", true),
    ("192.0.2.1", false),
    ("192.88.99.1", false),
    ("192.167.255.255", true),
    ("192.168.0.1", false),
    ("192.169.0.0", true),
    ("198.17.255.255", true),
    ("198.18.0.1", false),
    ("198.19.255.255", false),
    ("198.20.0.0", true),
    ("198.51.100.7", false),
    ("203.0.113.9", false),
    ("223.255.255.255", true),
    ("224.0.0.1", false),
    ("239.255.255.255", false),
    ("240.0.0.1", false),
    ("255.255.255.255", false),
];

/// The same of IPv6.
const V6: &[(&str, bool)] = &[
    ("2606:4700:4700::1111", true),
    ("2a00:1450:4001:800::200e", true),
    ("::", false),
    ("::1", false),
    ("::10.0.0.1", false),        // compatible form
    ("::8.8.8.8", false),         // compatible form, whatever it holds
    ("::ffff:8.8.8.8", true),     // mapped form
    ("::ffff:127.0.0.1", false),  // mapped form
    ("::ffff:a9fe:a9fe", false),  // the same of 169.254.169.254
    ("::ffff:0:8.8.8.8", false),  // translated form
    ("64:ff9b::8.8.8.8", true),   // NAT64
    ("64:ff9b::10.0.0.1", false), // NAT64
    ("64:ff9b::169.254.169.254", false),
    ("64:ff9b:1::8.8.8.8", false), // NAT64 of one network's own
    ("100::1", false),             // discard
    ("2001::1", false),            // Teredo
    ("2001:0:808:808::", false),   // Teredo
    ("2001:2::1", false),          // benchmarking
    ("2001:10::1", false),         // ORCHID
    ("2001:20::1", false),         // ORCHIDv2
    ("2001:1ff:ffff::1", false),
    ("2001:200::1", true),
    ("2001:db8::1", false),     // documentation
    ("2002:7f00:1::1", false),  // 6to4 of 127.0.0.1
    ("2002:808:808::1", false), // 6to4
    ("3fff::1", false),         // documentation
    ("3fff:fff:ffff::1", false),
    ("2600::5efe:a00:1", false), // ISATAP of 10.0.0.1
    ("2600::200:5efe:a00:1", false),
    ("4000::1", false),       // not assigned
    ("5f00::1", false),       // segment routing
    ("fc00::1", false),       // unique-local
    ("fd00:ec2::254", false), // a cloud's metadata
    ("fe80::1", false),       // link-local
    ("febf::1", false),
    ("fec0::1", false), // site-local
    ("ff02::1", false), // multicast
];

#[test]
fn only_addresses_that_everyone_can_reach_are_public() {
    for (address, public) in V4.iter().chain(V6) {
        assert_eq!(is_public(address.parse().unwrap()), *public, "{address}");
    }
}

#[test]
fn urls_are_read_in_one_way_and_asked_for_as_they_were_read() {
    for (url, read) in [
        ("https://Example.COM/a.png?b=c#d", Ok("https://example.com/a.png?b=c")),
        ("HTTPS://example.com", Ok("https://example.com/")),
        ("https://example.com?x", Ok("https://example.com/?x")),
        ("https://example.com:443/a", Ok("https://example.com/a")),
        ("https://example.com:8443/a", Ok("https://example.com:8443/a")),
        (" https://example.com/ü b|.png ", Ok("https://example.com/%C3%BC%20b%7C.png")),
        ("https://example.com/a%20b", Ok("https://example.com/a%20b")),
        ("https://example.com/@x:1/?u=a@b", Ok("https://example.com/@x:1/?u=a@b")),
        ("https://1.2.3.4/a", Ok("https://1.2.3.4/a")),
        ("https://[2606:4700::1]/a", Ok("https://[2606:4700::1]/a")),
        ("https://[2606:4700::1]:8443/a", Ok("https://[2606:4700::1]:8443/a")),
        ("https://xn--bcher-kva.example/a", Ok("https://xn--bcher-kva.example/a")),
        ("http://example.com/a", Err(Refusal::NotHttps)),
        ("ftp://example.com/a", Err(Refusal::NotHttps)),
        ("file:///etc/passwd", Err(Refusal::NotHttps)),
        ("gopher://example.com/", Err(Refusal::NotHttps)),
        ("https://user@example.com/a", Err(Refusal::Credentials)),
        ("https://user:pw@example.com/a", Err(Refusal::Credentials)),
        ("https://example.com:443@10.0.0.1/", Err(Refusal::Credentials)),
        ("https://@example.com/", Err(Refusal::Credentials)),
        ("example.com/a", Err(Refusal::Malformed)),
        ("//example.com/a", Err(Refusal::Malformed)),
        ("https:/example.com/a", Err(Refusal::Malformed)),
        ("https:example.com/a", Err(Refusal::Malformed)),
        ("https:///a", Err(Refusal::Malformed)),
        ("https://", Err(Refusal::Malformed)),
        ("https://example.com./a", Err(Refusal::Malformed)),
        ("https://.example.com/a", Err(Refusal::Malformed)),
        ("https://a..b/", Err(Refusal::Malformed)),
        ("https://bücher.example/", Err(Refusal::Malformed)),
        ("https://exa%6dple.com/", Err(Refusal::Malformed)),
        ("https://example.com\\@10.0.0.1/", Err(Refusal::Malformed)),
        ("https://example.com/a\\b", Err(Refusal::Malformed)),
        ("https://exam\tple.com/", Err(Refusal::Malformed)),
        ("https://example.com/a\r\nHost: x", Err(Refusal::Malformed)),
        ("https://example.com /a", Err(Refusal::Malformed)),
        ("https://example.com:/a", Err(Refusal::Malformed)),
        ("https://example.com:0/a", Err(Refusal::Malformed)),
        ("https://example.com:+443/a", Err(Refusal::Malformed)),
        ("https://example.com:443:444/a", Err(Refusal::Malformed)),
        ("https://example.com:65979/a", Err(Refusal::Malformed)),
        // Other spellings of 127.0.0.1.
        ("https://2130706433/", Err(Refusal::Malformed)),
        ("https://0x7f000001/", Err(Refusal::Malformed)),
        ("https://0x7f.0.0.1/", Err(Refusal::Malformed)),
        ("https://127.0.0.0x1/", Err(Refusal::Malformed)),
        ("https://017700000001/", Err(Refusal::Malformed)),
        ("https://0177.0.0.1/", Err(Refusal::Malformed)),
        ("https://127.0.0.01/", Err(Refusal::Malformed)),
        ("https://127.1/", Err(Refusal::Malformed)),
        ("https://127.0.0.1./", Err(Refusal::Malformed)),
        ("https://127.0.0.1.1/", Err(Refusal::Malformed)),
        ("https://①②⑦.0.0.1/", Err(Refusal::Malformed)),
        ("https://[::1%25eth0]/", Err(Refusal::Malformed)),
        ("https://[::1]x/", Err(Refusal::Malformed)),
        ("https://::1/", Err(Refusal::Malformed)),
        ("https://[127.0.0.1]/", Err(Refusal::Malformed)),
    ] {
        let got = Address::parse(url).map(|address| address.url());
        assert_eq!(got.as_deref().map_err(|why| *why), read, "{url:?}");
    }
    assert_eq!(Address::parse(&format!("https://a.b/{}", "x".repeat(URL_MAX))), Err(Refusal::Malformed));
}

#[test]
fn a_redirect_is_read_from_where_it_was_given() {
    let here = Address::parse("https://a.example:8443/b/c?d=/e/f").unwrap();
    for (location, read) in [
        ("https://other.example/x", Ok("https://other.example/x")),
        ("//other.example/x", Ok("https://other.example/x")),
        ("/x?y", Ok("https://a.example:8443/x?y")),
        ("x", Ok("https://a.example:8443/b/x")),
        ("x/y:z", Ok("https://a.example:8443/b/x/y:z")),
        ("?y", Ok("https://a.example:8443/b/c?y")),
        ("../x#y", Ok("https://a.example:8443/b/../x")),
        ("", Ok("https://a.example:8443/b/")),
        ("http://a.example/x", Err(Refusal::NotHttps)),
        ("//u@other.example/x", Err(Refusal::Credentials)),
        ("//127.1/x", Err(Refusal::Malformed)),
        ("\\\\other.example/x", Err(Refusal::Malformed)),
        ("/\\other.example/x", Err(Refusal::Malformed)),
        ("@other.example", Ok("https://a.example:8443/b/@other.example")),
    ] {
        let got = here.join(location).map(|address| address.url());
        assert_eq!(got.as_deref().map_err(|why| *why), read, "{location:?}");
    }
}

#[test]
fn what_is_not_public_or_not_on_443_is_admitted_only_as_it_was_listed() {
    let guard = |entries: &[&str]| {
        Guard::new(entries.iter().map(|entry| AllowedHost::parse(entry).unwrap()).collect())
    };
    let listed = ["images.internal", "odd.example:8443", "10.2.0.0/16", "[fd00::1]:9000"];
    for (entries, url, resolved, port_ok, admitted) in [
        (&[][..], "https://example.com/", "8.8.8.8", true, true),
        (&[], "https://example.com/", "10.2.0.1", true, false),
        (&[], "https://example.com/", "::ffff:10.2.0.1", true, false),
        (&[], "https://10.2.0.1/", "10.2.0.1", true, false),
        (&[], "https://example.com:8443/", "8.8.8.8", false, false),
        (&listed, "https://example.com/", "8.8.8.8", true, true),
        (&listed, "https://example.com/", "10.2.0.1", true, true),
        (&listed, "https://example.com/", "::ffff:10.2.0.1", true, true),
        (&listed, "https://example.com/", "10.3.0.1", true, false),
        (&listed, "https://example.com/", "169.254.169.254", true, false),
        (&listed, "https://images.internal/", "192.168.1.1", true, true),
        (&listed, "https://IMAGES.internal/", "192.168.1.1", true, true),
        (&listed, "https://x.images.internal/", "192.168.1.1", true, false),
        (&listed, "https://images.internal:8443/", "192.168.1.1", true, false),
        (&listed, "https://images.internal:8443/", "8.8.8.8", true, false),
        (&listed, "https://odd.example:8443/", "127.0.0.1", true, true),
        (&listed, "https://odd.example/", "127.0.0.1", true, false),
        (&listed, "https://odd.example:8444/", "8.8.8.8", false, false),
        (&listed, "https://[fd00::1]:9000/", "fd00::1", true, true),
        (&listed, "https://[fd00::2]:9000/", "fd00::2", true, false),
    ] {
        let guard = guard(entries);
        let address = Address::parse(url).unwrap();
        assert_eq!(guard.check(&address).is_ok(), port_ok, "{url}");
        assert_eq!(guard.admits(&address, resolved.parse().unwrap()), admitted, "{url} at {resolved}");
    }
}

#[test]
fn one_bad_address_spoils_all_the_good_ones() {
    let guard = Guard::default();
    let address = Address::parse("https://example.com/").unwrap();
    for (resolved, admitted) in [
        (&["8.8.8.8", "2606:4700::1"][..], true),
        (&["8.8.8.8", "127.0.0.1"], false),
        (&["::1", "8.8.8.8"], false),
        (&["8.8.8.8", "9.9.9.9", "169.254.169.254", "1.1.1.1"], false),
    ] {
        let all = resolved.iter().map(|one| one.parse().unwrap());
        assert_eq!(guard.admits_all(&address, all), admitted, "{resolved:?}");
    }
}

#[test]
fn a_name_that_is_not_listed_is_resolved_as_a_full_one() {
    let guard = Guard::new(vec![AllowedHost::parse("images").unwrap()]);
    for (url, name) in [
        ("https://redis/", Some("redis.")),
        ("https://example.com/", Some("example.com.")),
        ("https://images/", Some("images")),
        ("https://1.2.3.4/", None),
    ] {
        assert_eq!(guard.lookup_name(&Address::parse(url).unwrap()).as_deref(), name, "{url}");
    }
}
