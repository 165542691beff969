//! The two ways to stand in front of a function of the C library.
//!
//! Enters: names, and what is to be made of each call. Leaves: functions of these names. Must never
//! happen here: a function whose sixth argument is lost (see `watched`).

/// Where the C library's own function of a name lies.
macro_rules! original {
    ($name:ident, $real:ident) => {
        pub(crate) fn $real() -> usize {
            static REAL: AtomicUsize = AtomicUsize::new(0);
            // The name is a literal with a null at its end.
            match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => real(&REAL, name),
                Err(_) => missing as *const () as usize,
            }
        }
    };
}

/// Functions of at most five arguments: the return address is handed on as the sixth, the real
/// function is called, and the handler sees arguments and answer.
macro_rules! watched {
    ($($name:ident, $real:ident, $entry:ident => $handler:expr;)*) => {$(
        original! { $name, $real }

        extern "C" fn $entry(
            a: usize, b: usize, c: usize, d: usize, e: usize, caller: usize,
        ) -> usize {
            // SAFETY: a function of the C library, called with the caller's own arguments.
            let real: Five = unsafe { core::mem::transmute($real()) };
            let answer = real(a, b, c, d, e);
            if foreign(caller) {
                let handler: fn([usize; 5], usize, usize) = $handler;
                handler([a, b, c, d, e], answer, caller);
            }
            answer
        }

        /// # Safety
        /// As the C library's function of this name.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!("mov r9, [rsp]", "jmp {}", sym $entry);
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!("mov x5, x30", "b {}", sym $entry);
        }
    )*};
}

/// Functions that must be entered with registers and stack as the caller left them: noted before,
/// then jumped to.
macro_rules! passed {
    ($($name:ident, $real:ident, $entry:ident => $handler:expr;)*) => {$(
        original! { $name, $real }

        extern "C" fn $entry(a: usize, caller: usize) -> usize {
            if ACTIVE.load(Ordering::Acquire) {
                let handler: fn(usize, usize) = $handler;
                handler(a, caller);
            }
            $real()
        }

        /// # Safety
        /// As the C library's function of this name.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            core::arch::naked_asm!(
                "push rdi", "push rsi", "push rdx", "push rcx", "push r8", "push r9", "push rax",
                "mov rsi, [rsp + 56]",
                "call {}",
                "mov r11, rax",
                "pop rax", "pop r9", "pop r8", "pop rcx", "pop rdx", "pop rsi", "pop rdi",
                "jmp r11",
                sym $entry,
            );
            #[cfg(target_arch = "aarch64")]
            core::arch::naked_asm!(
                "stp x0, x1, [sp, #-80]!", "stp x2, x3, [sp, #16]", "stp x4, x5, [sp, #32]",
                "stp x6, x7, [sp, #48]", "stp x8, x30, [sp, #64]",
                "mov x1, x30",
                "bl {}",
                "mov x16, x0",
                "ldp x8, x30, [sp, #64]", "ldp x6, x7, [sp, #48]", "ldp x4, x5, [sp, #32]",
                "ldp x2, x3, [sp, #16]", "ldp x0, x1, [sp], #80",
                "br x16",
                sym $entry,
            );
        }
    )*};
}
