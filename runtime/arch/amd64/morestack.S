/* The stack that grows, on x86-64: what gcc's -fsplit-stack calls, and how foreign code is called.
 * arch/segment.h describes segments.
 *
 * __morestack is called by a function's first instructions when there is no room for its frame:
 *     r10  bytes of the frame          r11  bytes of its arguments on the stack
 * and all registers of arguments are alive, rax too (number of vector arguments, static chain). It
 * copies the arguments to the next segment and calls the function again from behind the `ret` that
 * follows the call of __morestack: so the function returns to us, we return to that `ret`, and it
 * to the caller, with the return predictor right all the way. The function finds in rbp our frame,
 * from which it knows where its arguments lay: a variadic one reads them there.
 *
 * __morestack_big calls the function in r11, which may use any amount of stack, on a big segment,
 * with a copy of what may be arguments on the stack: the caller's frame from the return address up to
 * its frame pointer, which all registered code keeps. A tail call has no frame: then rbp is that
 * of the caller's caller, whose frame holds the arguments as well, or lies on another segment, and the
 * arguments are on top of this one. No call has more than STACK_ARGUMENTS bytes of them, or the tool refuses to
 * build. __morestack_bare is for calls from functions of which the tool has seen that they pass none.
 * __x86_indirect_thunk_REG, by which registered code calls through pointers, jumps to registered code and hands
 * everything else to __morestack_big, __morestack_bare_thunk_REG to __morestack_bare.
 *
 * Foreign code may have left others by a way that no guard sees (an exception of C++): then the guard is of a
 * segment that is left, and the caller stands on another. Whoever finds that has it put right by
 * morestack_found.
 *
 * Both leave rbp in their frame and describe it so (CFA = rbp + 16): gdb and unwinders need nothing
 * else to walk from one segment to the other. gdb takes a stack that jumps for a broken one unless the
 * function is called __morestack: so that name covers all of it.
 *
 * Rejected: gold's rewriting of functions that call foreign code, so that they run on a big stack as a
 * whole: it sees no pointers, no other linker does it, and a goroutine that prints once and parks in
 * the same function keeps its big stack. libgcc's __morestack: it allocates by mmap, blocks signals,
 * and knows nothing of goroutines. */
#include "base/config.h"

#define GUARD %fs:0x70
#define TO_GUARD (64 + SEGMENT_SLACK) /* ARCH_SEGMENT_GUARD */
#define SEG_NEXT 8
#define SEG_PREV 16
#define SEG_HI 24
#define SEG_KIND 32
#define SEG_USED 40
#define SEG_BLOCKS 48
#define SEG_LINK 56
#define BIG 1
#define THREAD_G0 16
#define THREAD_BIGS 24
#define THREAD_NBIGS 32
#define BIGS_MAX 4
#define XSAVE_SIZE 2752
#define XSAVE_HEADER 512

	.text

#if !LOAM_SHARED

/* The thread at hand into \reg. */
.macro THREAD reg
	movq	loam_thread_self_tls@gottpoff(%rip), \reg
	movq	%fs:(\reg), \reg
.endm

/* Calls a C function on the thread's own stack: all that a program may have in vector and x87
 * registers is kept. rdi and rsi: its arguments; the third is rbp. Other registers are the caller's to keep;
 * clobbers rbx and r12. */
.macro ON_SYSTEM fn
	THREAD	%rbx
	movq	THREAD_G0(%rbx), %rbx
	movq	(%rbx), %rbx
	movq	%rsp, %r12
	leaq	-XSAVE_SIZE(%rbx), %rsp
	andq	$-64, %rsp
	movl	morestack_xsave_mask(%rip), %eax
	xorl	%edx, %edx
	testl	%eax, %eax
	je	91f
	.irp	word, 0, 8, 16, 24, 32, 40, 48, 56
	movq	%rdx, (XSAVE_HEADER + \word)(%rsp)
	.endr
	xsave64	(%rsp)
	movq	%rbp, %rdx
	call	\fn
	movl	morestack_xsave_mask(%rip), %eax
	xorl	%edx, %edx
	xrstor64 (%rsp)
	jmp	92f
91:	fxsave64 (%rsp)
	movq	%rbp, %rdx
	call	\fn
	fxrstor64 (%rsp)
92:	movq	%r12, %rsp
.endm

/* Around ON_SYSTEM when a function has returned: what it gives back, and what it kept for its caller; rsi and
 * rdi too, which a function of ms_abi keeps. */
.macro RESULTS_PUSH
	.irp	reg, rax, rdx, rsi, rdi, rbx, r12
	pushq	%\reg
	.endr
.endm
.macro RESULTS_POP
	.irp	reg, r12, rbx, rdi, rsi, rdx, rax
	popq	%\reg
	.endr
.endm

/* The frame of both ways to another segment. */
.macro ENTER
	pushq	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	movq	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	.cfi_offset %rbx, -24
	.cfi_offset %r12, -32
	.cfi_offset %r13, -40
	.cfi_offset %r14, -48
.endm

/* Around ON_SYSTEM before a function is called: all that may be its arguments, and what it is. */
.macro ARGUMENTS_PUSH
	.irp	reg, rax, rdi, rsi, rdx, rcx, r8, r9, r10, r11
	pushq	%\reg
	.endr
.endm
.macro ARGUMENTS_POP
	.irp	reg, r11, r10, r9, r8, rcx, rdx, rsi, rdi, rax
	popq	%\reg
	.endr
.endm

/* ---- Foreign code -------------------------------------------------------------------------------- */

/* The function in r11, wherever it is, with the caller's arguments. May clobber r10: who calls a
 * function by pointer has no static chain for it. */
.macro BIG_CALL name, enter
	.globl	\name
	.type	\name, @function
	.p2align 4
\name:
	.cfi_startproc
	movq	GUARD, %r10
	testq	%r10, %r10
	je	1f
	cmpl	$BIG, (SEG_KIND - TO_GUARD)(%r10)
	jne	\enter
	cmpq	(SEG_HI - TO_GUARD)(%r10), %rsp
	jae	\enter
	addq	$STACK_FOREIGN, %r10
	cmpq	%r10, %rsp
	jb	\enter
1:	jmp	*%r11
	.cfi_endproc
	.size	\name, .-\name
.endm
	BIG_CALL __morestack_big, .Lbig
	BIG_CALL __morestack_bare, .Lbare

/* void arch_call_big(void (*fn)(void *), void *arg) */
	.globl	arch_call_big
	.hidden	arch_call_big
	.type	arch_call_big, @function
	.p2align 4
arch_call_big:
	.cfi_startproc
	movq	%rdi, %r11
	movq	%rsi, %rdi
	jmp	__morestack_bare
	.cfi_endproc
	.size	arch_call_big, .-arch_call_big

/* ---- More stack ---------------------------------------------------------------------------------- */

	.globl	__morestack
	.type	__morestack, @function
	.p2align 4
__morestack:
	.cfi_startproc
	ENTER
.Lagain:
	movq	GUARD, %rbx
	movq	(SEG_NEXT - TO_GUARD)(%rbx), %r12
	testq	%r12, %r12
	je	.Lgrow
	/* r13: where the arguments go, as far from a cache line's start as they were */
	movq	SEG_HI(%r12), %r13
	subq	%r11, %r13
	leaq	24(%rbp), %r14
	subq	%r13, %r14
	negq	%r14
	andq	$63, %r14
	subq	%r14, %r13
	/* with the return address and the frame it must end above the guard */
	leaq	-8(%r13), %r14
	subq	%r10, %r14
	jc	.Lgrow
	cmpq	(%r12), %r14
	jb	.Lgrow
1:	testq	%r11, %r11
	jne	.Larguments
2:	pushq	%rbx			/* -40: the guard to come back to */
	movq	(%r12), %r14
	movq	8(%rbp), %r10
	incq	%r10
	movq	%r14, GUARD
	movq	%r13, %rsp
	movq	-16(%rbp), %r12
	movq	-24(%rbp), %r13
	movq	-32(%rbp), %r14
	movq	-8(%rbp), %rbx
	call	*%r10
.Lafter_grow:
	movq	GUARD, %rcx
	cmpq	$0, (SEG_BLOCKS - TO_GUARD)(%rcx)
	jne	.Lblocks
3:	movq	-40(%rbp), %rcx
	movq	%rcx, GUARD
	.cfi_remember_state
	leave
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_restore_state

.Larguments:
	movq	16(%rbp, %r11), %r14
	movq	%r14, -8(%r13, %r11)
	subq	$8, %r11
	jne	.Larguments
	jmp	2b

.Lgrow:
	ARGUMENTS_PUSH
	movq	%r10, %rdi
	movq	%r11, %rsi
	ON_SYSTEM morestack_grow
	ARGUMENTS_POP
	jmp	.Lagain

	/* The segment that is left has memory of alloca. */
.Lblocks:
	RESULTS_PUSH
	leaq	-TO_GUARD(%rcx), %rdi
	ON_SYSTEM morestack_free_blocks
	RESULTS_POP
	jmp	3b

	/* On a big segment: r11 is the function; r10: 0, it has no arguments on the stack. */
	.cfi_restore %rbx
	.cfi_restore %r12
	.cfi_restore %r13
	.cfi_restore %r14
	.cfi_restore %rbp
	.cfi_def_cfa %rsp, 8
.Lbare:
	xorl	%r10d, %r10d
.Lbig:
	ENTER
.Lbig_again:
	movq	GUARD, %r14
	leaq	-TO_GUARD(%r14), %r13
	cmpq	%r13, %rbp
	jb	.Lbig_lost
	cmpq	SEG_HI(%r13), %rbp
	jae	.Lbig_lost
	THREAD	%r12
	movq	THREAD_BIGS(%r12), %rbx
	testq	%rbx, %rbx
	je	.Lbig_get
	pushq	%r14			/* -40: the guard to come back to */
	movq	SEG_LINK(%rbx), %r14
	movq	%r14, THREAD_BIGS(%r12)
	decl	THREAD_NBIGS(%r12)
	pushq	%rbx			/* -48: the segment */
	movq	%r13, SEG_PREV(%rbx)
	movq	SEG_USED(%r13), %r14
	addq	$STACK_BIG, %r14
	movq	%r14, SEG_USED(%rbx)
	testq	%r10, %r10
	je	.Lbig_bare
	/* r10: what may be arguments; r13: how much of it */
	movq	SEG_HI(%r13), %r13
	movq	(%rbp), %r12
	leaq	16(%rbp), %r10
	cmpq	%r13, %r12
	ja	1f
	cmpq	%r10, %r12
	jb	1f
	movq	%r12, %r13
1:	subq	%r10, %r13
	cmpq	$STACK_ARGUMENTS, %r13
	jbe	2f
	movl	$STACK_ARGUMENTS, %r13d
2:	andq	$-8, %r13
	/* r12: where to, as far from a cache line's start */
	movq	SEG_HI(%rbx), %r12
	subq	%r13, %r12
	movq	%r12, %r14
	subq	%r10, %r14
	andq	$63, %r14
	subq	%r14, %r12
	cmpq	$256, %r13
	ja	.Lbig_much
	testq	%r13, %r13
	je	4f
3:	movq	-8(%r10, %r13), %r14
	movq	%r14, -8(%r12, %r13)
	subq	$8, %r13
	jne	3b
4:	movq	(%rbx), %r14
	movq	%r14, GUARD
	movq	%r12, %rsp
	movq	-8(%rbp), %rbx
	movq	-16(%rbp), %r12
	movq	-24(%rbp), %r13
	movq	-32(%rbp), %r14
	call	*%r11
.Lafter_big:
	movq	-48(%rbp), %rcx
	leaq	TO_GUARD(%rcx), %r8
	cmpq	%r8, GUARD
	jne	.Lbig_left
6:	movq	-40(%rbp), %r8
	movq	%r8, GUARD
	/* the thread may be another one; on its list are only such that have nothing */
	THREAD	%r8
	movq	SEG_BLOCKS(%rcx), %r9
	orq	SEG_NEXT(%rcx), %r9
	jne	.Lbig_put
	cmpl	$BIGS_MAX, THREAD_NBIGS(%r8)
	jae	.Lbig_put
	movq	THREAD_BIGS(%r8), %r9
	movq	%r9, SEG_LINK(%rcx)
	movq	%rcx, THREAD_BIGS(%r8)
	incl	THREAD_NBIGS(%r8)
5:	.cfi_remember_state
	leave
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_restore_state

.Lbig_bare:
	movq	SEG_HI(%rbx), %r12
	jmp	4b

.Lbig_much:
	pushq	%rsi
	pushq	%rdi
	pushq	%rcx
	movq	%r10, %rsi
	movq	%r12, %rdi
	movq	%r13, %rcx
	shrq	$3, %rcx
	rep movsq
	popq	%rcx
	popq	%rdi
	popq	%rsi
	jmp	4b

.Lbig_get:
	ARGUMENTS_PUSH
	ON_SYSTEM morestack_big_get
	ARGUMENTS_POP
	jmp	.Lbig_again

	/* The guard is not of the segment that we are on. */
.Lbig_lost:
	ARGUMENTS_PUSH
	movq	%rbp, %rdi
	ON_SYSTEM morestack_found
	ARGUMENTS_POP
	jmp	.Lbig_again

	/* Off the big stack first: the next moment it may be another thread's. */
.Lbig_put:
	leaq	-48(%rbp), %rsp
	RESULTS_PUSH
	movq	%rcx, %rdi
	ON_SYSTEM morestack_big_put
	RESULTS_POP
	jmp	5b

	/* Foreign code has come back to this segment by a longjmp of its own, from beyond others. */
.Lbig_left:
	RESULTS_PUSH
	pushq	%rcx
	movq	%rcx, %rdi
	ON_SYSTEM morestack_big_left
	popq	%rcx
	RESULTS_POP
	jmp	6b

	.cfi_endproc
	.size	__morestack, .-__morestack

/* void *__morestack_allocate_stack_space(size_t size): alloca, when there is no room. Like an alloca that has
 * some it takes a little of the caller's stack: so the memory is known to be free when the stack pointer comes
 * back, at the end of a VLA's block. */
	.globl	__morestack_allocate_stack_space
	.type	__morestack_allocate_stack_space, @function
	.p2align 4
__morestack_allocate_stack_space:
	.cfi_startproc
	pushq	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	movq	%rsp, %rbp
	.cfi_def_cfa_register %rbp
	leaq	16(%rsp), %rsi
	movq	(%rbp), %rdx
	THREAD	%rax
	movq	THREAD_G0(%rax), %rax
	movq	(%rax), %rsp
	andq	$-16, %rsp
	call	morestack_alloca
	movq	8(%rbp), %rcx
	movq	%rcx, -8(%rdx)		/* not above where it was */
	movq	(%rbp), %rbp
	leaq	-8(%rdx), %rsp
	.cfi_restore %rbp
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_endproc
	.size	__morestack_allocate_stack_space, .-__morestack_allocate_stack_space

/* ---- setjmp -------------------------------------------------------------------------------------- *
 *
 * Fills a jmp_buf of glibc in glibc's way, so that glibc's longjmp, called by whoever, takes it. It
 * jumps to .Ljumped, with the jmp_buf still in rdi as its longjmp leaves it; that sets the
 * guard of the target's stack, gives big segments in between back and goes on. Libraries have these functions
 * for their setjmp as well (cmd/loam/split_link.c).
 *
 * Where to go on, and the segment: pthread_cleanup_push gives a buffer of 104 bytes to sigsetjmp, in which libc
 * uses those of 72 to 95. So in 4 bytes behind the word that tells whether a signal mask is there, which nothing
 * uses, and 8 at 96, in the part of the mask that Linux never writes:
 *     68  bits 11 to 42 of the segment's address, 0 without a guard
 *     96  address to go on at, bits 43 to 46 of the segment's, MAGIC; mangled like libc's own */
#define JB_MASK_SAVED 64
#define JB_SEGMENT 68
#define JB_MASK 72
#define JB_PC 96
#define MAGIC 0xa3b

.macro MANGLE reg
	xorq	%fs:0x30, \reg
	rolq	$17, \reg
.endm

/* int __morestack_setjmp_mask(jmp_buf env), for setjmp as a function, which saves the signal mask. */
	.globl	__morestack_setjmp_mask
	.type	__morestack_setjmp_mask, @function
	.p2align 4
__morestack_setjmp_mask:
	.cfi_startproc
	movl	$1, %esi
	jmp	__morestack_sigsetjmp
	.cfi_endproc
	.size	__morestack_setjmp_mask, .-__morestack_setjmp_mask

/* int __morestack_setjmp(jmp_buf env), for _setjmp and the macro setjmp, which save no signal mask. */
	.globl	__morestack_setjmp
	.type	__morestack_setjmp, @function
	.p2align 4
__morestack_setjmp:
	.cfi_startproc
	xorl	%esi, %esi
	/* and on */
	.size	__morestack_setjmp, .-__morestack_setjmp

/* int __morestack_sigsetjmp(sigjmp_buf env, int savemask) */
	.globl	__morestack_sigsetjmp
	.type	__morestack_sigsetjmp, @function
__morestack_sigsetjmp:
	movq	%rbx, 0(%rdi)
	movq	%rbp, %rax
	MANGLE	%rax
	movq	%rax, 8(%rdi)
	movq	%r12, 16(%rdi)
	movq	%r13, 24(%rdi)
	movq	%r14, 32(%rdi)
	movq	%r15, 40(%rdi)
	leaq	8(%rsp), %rax
	MANGLE	%rax
	movq	%rax, 48(%rdi)
	leaq	.Ljumped(%rip), %rax
	MANGLE	%rax
	movq	%rax, 56(%rdi)
	movl	%esi, JB_MASK_SAVED(%rdi)
	movq	GUARD, %rax
	testq	%rax, %rax
	je	2f
	subq	$TO_GUARD, %rax
2:	movq	%rax, %rdx
	shrq	$11, %rax
	movl	%eax, JB_SEGMENT(%rdi)
	shrq	$43, %rdx
	orl	$(MAGIC << 4), %edx
	shlq	$48, %rdx
	orq	(%rsp), %rdx
	xorq	%fs:0x30, %rdx
	movq	%rdx, JB_PC(%rdi)
	testl	%esi, %esi
	je	1f
	leaq	JB_MASK(%rdi), %rdx	/* rt_sigprocmask(SIG_BLOCK, NULL, mask, 8) */
	xorl	%edi, %edi
	xorl	%esi, %esi
	movl	$8, %r10d
	movl	$14, %eax
	syscall
1:	xorl	%eax, %eax
	ret
	.cfi_endproc
	.size	__morestack_sigsetjmp, .-__morestack_sigsetjmp

/* eax: what setjmp returns. */
	.type	morestack_jumped, @function
morestack_jumped:
.Ljumped:
	.cfi_startproc
	.cfi_undefined %rip
	movl	JB_SEGMENT(%rdi), %esi
	movq	JB_PC(%rdi), %rdi
	xorq	%fs:0x30, %rdi
	movq	%rdi, %rdx
	shrq	$48, %rdx
	movl	%edx, %ecx
	shrl	$4, %ecx
	cmpl	$MAGIC, %ecx
	jne	4f
	andl	$15, %edx
	shlq	$32, %rdx
	orq	%rdx, %rsi
	shlq	$11, %rsi
	je	6f
	addq	$TO_GUARD, %rsi
6:	shlq	$16, %rdi
	shrq	$16, %rdi
	movq	GUARD, %rcx
	THREAD	%r8
1:	cmpq	%rsi, %rcx
	je	3f
	testq	%rcx, %rcx
	je	3f			/* out of a signal handler; the big segments are lost */
	subq	$TO_GUARD, %rcx
	movq	SEG_PREV(%rcx), %rdx
	cmpl	$BIG, SEG_KIND(%rcx)
	jne	2f
	movq	SEG_BLOCKS(%rcx), %r9
	orq	SEG_NEXT(%rcx), %r9
	jne	5f
	movq	THREAD_BIGS(%r8), %r9
	movq	%r9, SEG_LINK(%rcx)
	movq	%rcx, THREAD_BIGS(%r8)
	incl	THREAD_NBIGS(%r8)
2:	testq	%rdx, %rdx
	je	4f			/* the target is not on this goroutine's stack */
	movq	(%rdx), %rcx
	jmp	1b
3:	movq	%rsi, GUARD
	jmp	*%rdi
4:	ud2
5:	RESULTS_PUSH
	movq	%rcx, %rdi
	ON_SYSTEM morestack_big_put
	RESULTS_POP
	THREAD	%r8
	jmp	2b
	.cfi_endproc
	.size	morestack_jumped, .-morestack_jumped

/* ---- Calls by pointer ---------------------------------------------------------------------------- */

.macro ADDRESS name, value
	.globl	\name
	.hidden	\name
	.type	\name, @object
\name:
	.quad	\value
	.size	\name, 8
.endm
	.section .data.rel.ro,"aw"
	.p2align 3
	.weak	__start_loam_text
	.hidden	__start_loam_text
	.weak	__stop_loam_text
	.hidden	__stop_loam_text
	ADDRESS	morestack_text_lo, __start_loam_text
	ADDRESS	morestack_text_hi, __stop_loam_text
	ADDRESS	morestack_grow_pc, .Lafter_grow
	ADDRESS	morestack_big_pc, .Lafter_big
	.text

.macro THUNK name, reg, big
	.globl	\name\()_\reg
	.type	\name\()_\reg, @function
	.p2align 4
\name\()_\reg:
	.cfi_startproc
	cmpq	morestack_text_lo(%rip), %\reg
	jb	1f
	cmpq	morestack_text_hi(%rip), %\reg
	jae	1f
	jmp	*%\reg
1:
	.ifnc	\reg, r11
	movq	%\reg, %r11
	.endif
	jmp	\big
	.cfi_endproc
	.size	\name\()_\reg, .-\name\()_\reg
.endm
	.irp	reg, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	THUNK	__x86_indirect_thunk, \reg, __morestack_big
	THUNK	__morestack_bare_thunk, \reg, __morestack_bare
	.endr

#else
/* In the shared library there are no small stacks: a program's registered text is its own. */
	.section .rodata
	.p2align 3
	.irp	name, morestack_text_lo, morestack_text_hi, morestack_grow_pc, morestack_big_pc
	.globl	\name
	.hidden	\name
	.type	\name, @object
\name:
	.quad	0
	.size	\name, 8
	.endr
#endif
	.section .note.GNU-stack,"",@progbits
