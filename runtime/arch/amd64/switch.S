/* The switch between two stacks on x86-64.
 *
 * Only what the ABI makes callee-saved is kept: rbx rbp r12-r15 and the stack pointer. mxcsr and
 * the x87 control word belong to the thread: saving them costs 2-5 ns more per switch (measured),
 * and C code that changes them around a call that parks has changed its thread's.
 *
 * The guard of a stack that grows (arch/segment.h) lies at %fs:0x70, a word that libc leaves to
 * __morestack, and goes with the context.
 *
 * It returns by ret: nearly all switches of a program leave and come back by one call site, so that
 * the return predictor is right, while a jump would leave it one off for every return after it (a
 * yield: a third dearer). Only a new goroutine, which nothing ever called, is jumped to. */
	.text

/* void arch_switch(struct gobuf *from, struct gobuf *to) */
	.globl	arch_switch
	.hidden	arch_switch
	.type	arch_switch, @function
	.p2align 4
arch_switch:
	.cfi_startproc
	pushq	%fs:0x70
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	pushq	%rbp
	movq	%rsp, (%rdi)
	movq	(%rsi), %rsp
	popq	%rbp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%fs:0x70
	leaq	arch_entry(%rip), %rcx
	cmpq	%rcx, (%rsp)
	je	1f
	ret
1:	addq	$8, %rsp
	jmp	arch_entry
	.cfi_endproc
	.size	arch_switch, .-arch_switch

/* The first frame of a new context: calls the function in rbx. rbp is 0 here, so that a walk by
 * frame pointers ends; unwinders see an undefined return address and end too. */
	.globl	arch_entry
	.hidden	arch_entry
	.type	arch_entry, @function
	.p2align 4
arch_entry:
	.cfi_startproc
	.cfi_undefined rip
	xorl	%ebp, %ebp
	call	*%rbx
	ud2
	.cfi_endproc
	.size	arch_entry, .-arch_entry

/* void arch_call_on(void (*fn)(void *), void *arg, uintptr_t sp): the frame is that of any function,
 * only that what fn pushes lies on another stack. */
	.globl	arch_call_on
	.hidden	arch_call_on
	.type	arch_call_on, @function
	.p2align 4
arch_call_on:
	.cfi_startproc
	pushq	%rbp
	.cfi_def_cfa_offset 16
	.cfi_offset rbp, -16
	movq	%rsp, %rbp
	.cfi_def_cfa_register rbp
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	%rdx, %rsp
	andq	$-16, %rsp
	call	*%rax
	leave
	.cfi_def_cfa rsp, 8
	ret
	.cfi_endproc
	.size	arch_call_on, .-arch_call_on

	.section .note.GNU-stack,"",@progbits
