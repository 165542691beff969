//! Amounts of money, each currency a type of its own.
//!
//! What enters: minor units and the rates below. What leaves: amounts and text.
//! Two currencies must never be added by accident: every pair that can be
//! exchanged has its own implementation, and those many pairs are where this
//! crate's compile time goes.

use std::fmt;
use std::marker::PhantomData;

/// A currency.
pub trait Currency: Copy {
    /// Its ISO 4217 code.
    const CODE: &'static str;
    /// What one unit is worth, in millionths of a euro.
    const RATE: i64;
}

/// An amount in minor units (cents) of one currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount<C: Currency> {
    minor: i64,
    currency: PhantomData<C>,
}

impl<C: Currency> Amount<C> {
    /// From minor units.
    pub const fn of_minor(minor: i64) -> Amount<C> {
        Amount {
            minor,
            currency: PhantomData,
        }
    }

    /// In minor units.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The sum; `None` where it does not fit.
    pub fn plus(self, other: Amount<C>) -> Option<Amount<C>> {
        self.minor.checked_add(other.minor).map(Amount::of_minor)
    }
}

impl<C: Currency> fmt::Display for Amount<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.minor / 100, (self.minor % 100).abs());
        write!(f, "{whole}.{part:02} {}", C::CODE)
    }
}

/// An exchange into the currency `To`.
pub trait Exchange<To: Currency> {
    /// Rounds half away from zero; `None` where the amount does not fit.
    fn exchange(self) -> Option<Amount<To>>;
}

/// Writes one type for each currency, then one exchange for each pair.
macro_rules! currencies {
    ($($code:ident $rate:literal)*) => {
        $(
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
            pub struct $code;

            impl Currency for $code {
                const CODE: &'static str = stringify!($code);
                const RATE: i64 = $rate;
            }
        )*
        currencies!(@pairs [$($code)*] [$($code)*]);

        /// The codes of all currencies.
        pub const CODES: &[&str] = &[$(stringify!($code)),*];
    };
    (@pairs [$($from:ident)*] $all:tt) => {
        $(currencies!(@row $from $all);)*
    };
    (@row $from:ident [$($to:ident)*]) => { $(
        impl Exchange<$to> for Amount<$from> {
            fn exchange(self) -> Option<Amount<$to>> {
                let scaled = i128::from(self.minor()) * i128::from($from::RATE);
                let half = i128::from($to::RATE / 2) * scaled.signum();
                let minor = (scaled + half) / i128::from($to::RATE);
                i64::try_from(minor).ok().map(Amount::of_minor)
            }
        }
    )* };
}

currencies! {
    EUR 1_000_000 USD 920_000 GBP 1_170_000 CHF 1_040_000 DKK 134_000
    SEK 88_000 NOK 86_000 ISK 6_700 PLN 232_000 CZK 40_000
    HUF 2_500 RON 201_000 BGN 511_000 TRY 28_000 UAH 24_000
    JPY 6_100 CNY 128_000 KRW 680 INR 11_000 SGD 685_000
    HKD 118_000 TWD 29_000 THB 26_000 VND 37 IDR 59
    AUD 607_000 NZD 563_000 CAD 679_000 MXN 54_000 BRL 184_000
    ARS 1_050 CLP 980 ZAR 49_000 NGN 610 KES 7_100
    PEN 247_000 COP 220 UYU 22_000 EGP 19_000 MAD 92_000
    TND 296_000 GHS 61_000 ILS 247_000 AED 250_000 SAR 245_000
    QAR 252_000 KZT 1_900 GEL 340_000 PHP 16_000 MYR 196_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_exchanged_into_its_own_currency_stays() {
        for minor in [-105, 0, 1, 99, 100_000] {
            assert_eq!(
                Exchange::<EUR>::exchange(Amount::<EUR>::of_minor(minor)),
                Some(Amount::of_minor(minor))
            );
        }
    }

    #[test]
    fn half_a_cent_is_rounded_away_from_zero() {
        let cents: Option<Amount<EUR>> = Amount::<USD>::of_minor(1_250).exchange();
        assert_eq!(cents, Some(Amount::of_minor(1_150)));
        let debt: Option<Amount<EUR>> = Amount::<GBP>::of_minor(-50).exchange();
        assert_eq!(debt, Some(Amount::of_minor(-59)));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let riches = Amount::<EUR>::of_minor(i64::MAX);
        assert_eq!(Exchange::<VND>::exchange(riches), None);
        assert_eq!(riches.plus(Amount::of_minor(1)), None);
    }

    #[test]
    fn an_amount_prints_two_decimals() {
        assert_eq!(Amount::<CHF>::of_minor(-1_205).to_string(), "-12.05 CHF");
    }
}
