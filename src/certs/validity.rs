//! How long a certificate is good.

use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The last second, since the epoch, at which the certificate `der` is good; 0 where it cannot be read.
pub fn not_after(der: &[u8]) -> u64 {
    let read = X509Certificate::from_der(der);
    let until = read.map_or(0, |(_, certificate)| certificate.validity().not_after.timestamp());
    u64::try_from(until).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_good_until_the_second_that_it_names() {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.not_after = rcgen::date_time_ymd(2001, 9, 9);
        let key = rcgen::KeyPair::generate().unwrap();
        assert_eq!(not_after(params.self_signed(&key).unwrap().der()), 999_993_600);
        params.not_after = rcgen::date_time_ymd(1960, 1, 1);
        assert_eq!(not_after(params.self_signed(&key).unwrap().der()), 0);
        assert_eq!(not_after(b"garbage"), 0);
    }
}
