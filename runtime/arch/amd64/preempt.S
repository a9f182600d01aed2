/* Where a goroutine goes that a signal cut in code that may go on on any thread (sched/copied.c). The handler
 * returns to arch_async_preempt as if the code had called it there, with the stack pointer below its red zone:
 *
 *     what the code had: its frame
 *     128 bytes of red zone
 *     the address at which it was cut        <- rsp at entry
 *
 * All that the code may have in registers is saved on its own stack; then preempt_copied gives the processor
 * away, and when it returns, maybe on another thread, all is restored. The thread goes on with x87, SSE and
 * vector registers as at its start, and DF clear: the ABI promises that to whoever runs next. Flags are saved
 * first, by instructions that do not change them. The segment bases, so the thread's locals, and the rights of
 * protection keys are the thread's, and stay.
 *
 * It ends by ret with 128, which takes the address and the red zone off at once.
 *
 * To unwinders the frame is a signal's: its CFA is the stack pointer of the code that was cut. */
#define RED_ZONE 128
#define HEADER 512 /* of an area of xsave, 64 bytes long */

	.text
	.globl	arch_async_preempt
	.hidden	arch_async_preempt
	.type	arch_async_preempt, @function
	.p2align 4
arch_async_preempt:
	.cfi_startproc
	.cfi_signal_frame
	.cfi_def_cfa rsp, 136
	.cfi_offset rip, -136
	pushq	%rbp
	.cfi_def_cfa_offset 144
	.cfi_offset rbp, -144
	movq	%rsp, %rbp
	.cfi_def_cfa_register rbp
	pushfq
	pushq	%rax
	.cfi_offset rax, -160
	pushq	%rcx
	.cfi_offset rcx, -168
	pushq	%rdx
	.cfi_offset rdx, -176
	pushq	%rbx
	.cfi_offset rbx, -184
	pushq	%rsi
	.cfi_offset rsi, -192
	pushq	%rdi
	.cfi_offset rdi, -200
	pushq	%r8
	.cfi_offset r8, -208
	pushq	%r9
	.cfi_offset r9, -216
	pushq	%r10
	.cfi_offset r10, -224
	pushq	%r11
	.cfi_offset r11, -232
	pushq	%r12
	.cfi_offset r12, -240
	pushq	%r13
	.cfi_offset r13, -248
	pushq	%r14
	.cfi_offset r14, -256
	pushq	%r15
	.cfi_offset r15, -264
	movq	%rsp, %rbx
	movl	arch_xsave_size(%rip), %eax
	subq	%rax, %rsp
	andq	$-64, %rsp
	movl	arch_xsave_mask(%rip), %eax
	xorl	%edx, %edx
	.irp	word, 0, 8, 16, 24, 32, 40, 48, 56 /* xsave changes some of it, xrstor wants zeros */
	movq	%rdx, (HEADER + \word)(%rsp)
	.endr
	xsave64	(%rsp)
	xrstor64 arch_clean_state(%rip)
	cld
	call	preempt_copied
.Lpreempted:
	movl	arch_xsave_mask(%rip), %eax
	xorl	%edx, %edx
	xrstor64 (%rsp)
	movq	%rbx, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rbx
	popq	%rdx
	popq	%rcx
	popq	%rax
	popfq
	popq	%rbp
	.cfi_def_cfa rsp, 136
	ret	$RED_ZONE
	.cfi_endproc
	.size	arch_async_preempt, .-arch_async_preempt

/* The return address in it, for tracebacks. */
	.section .data.rel.ro.local,"aw",@progbits
	.p2align 3
	.globl	arch_async_pc
	.hidden	arch_async_pc
	.type	arch_async_pc, @object
arch_async_pc:
	.quad	.Lpreempted
	.size	arch_async_pc, 8

	.section .note.GNU-stack,"",@progbits
