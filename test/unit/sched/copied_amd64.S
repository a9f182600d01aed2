/* void spin_full(const struct state *in, struct state *out, const volatile uint64_t *go, uint64_t vectors)
 *
 * Loads all that code can have in registers from *in, and the red zone; spins without changing any of it, not
 * even a flag, until *go is not 0; stores what is there then. vectors: 0 SSE, 1 AVX, 2 AVX-512. It has no
 * frame pointer, and lies in the module's text. struct state is in copied.h. */
#define GPR 0 /* rax rbx rdx rsi rdi rbp r8-r15 */
#define FLAGS 112
#define MXCSR 120
#define CONTROL 124
#define RED 128
#define X87 256
#define VECTOR 384
#define MASKS 2432

	.section loam_module,"ax",@progbits
	.globl	spin_full
	.type	spin_full, @function
spin_full:
	.cfi_startproc
	.irp	reg, rbx, rbp, r12, r13, r14, r15
	pushq	%\reg
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset \reg, 0
	.endr
	pushq	%rcx /* vectors: 16(%rsp) */
	.cfi_adjust_cfa_offset 8
	pushq	%rsi /* out: 8(%rsp) */
	.cfi_adjust_cfa_offset 8
	pushq	%rdx /* go */
	.cfi_adjust_cfa_offset 8
	ldmxcsr	MXCSR(%rdi)
	fninit
	fldcw	CONTROL(%rdi)
	.irp	i, 7, 6, 5, 4, 3, 2, 1, 0
	fldt	(X87 + 16 * \i)(%rdi)
	.endr
	cmpq	$1, %rcx
	jb	1f
	ja	2f
	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovups	(VECTOR + 64 * \i)(%rdi), %ymm\i
	.endr
	jmp	3f
1:	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movups	(VECTOR + 64 * \i)(%rdi), %xmm\i
	.endr
	jmp	3f
2:	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vmovups	(VECTOR + 64 * \i)(%rdi), %zmm\i
	.endr
	.irp	i, 1, 2, 3, 4, 5, 6, 7
	kmovw	(MASKS + 8 * \i)(%rdi), %k\i
	.endr
3:	pushq	FLAGS(%rdi)
	.cfi_adjust_cfa_offset 8
	popfq
	.cfi_adjust_cfa_offset -8
	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movq	(RED + 8 * \i)(%rdi), %rax
	movq	%rax, (-128 + 8 * \i)(%rsp)
	.endr
	movq	GPR(%rdi), %rax
	movq	(GPR + 8)(%rdi), %rbx
	movq	(GPR + 16)(%rdi), %rdx
	movq	(GPR + 24)(%rdi), %rsi
	movq	(GPR + 40)(%rdi), %rbp
	movq	(GPR + 48)(%rdi), %r8
	movq	(GPR + 56)(%rdi), %r9
	movq	(GPR + 64)(%rdi), %r10
	movq	(GPR + 72)(%rdi), %r11
	movq	(GPR + 80)(%rdi), %r12
	movq	(GPR + 88)(%rdi), %r13
	movq	(GPR + 96)(%rdi), %r14
	movq	(GPR + 104)(%rdi), %r15
	movq	(GPR + 32)(%rdi), %rdi
4:	movq	(%rsp), %rcx
	movq	(%rcx), %rcx
	jrcxz	4b
	movq	8(%rsp), %rcx
	movq	%rax, GPR(%rcx)
	movq	%rbx, (GPR + 8)(%rcx)
	movq	%rdx, (GPR + 16)(%rcx)
	movq	%rsi, (GPR + 24)(%rcx)
	movq	%rdi, (GPR + 32)(%rcx)
	movq	%rbp, (GPR + 40)(%rcx)
	movq	%r8, (GPR + 48)(%rcx)
	movq	%r9, (GPR + 56)(%rcx)
	movq	%r10, (GPR + 64)(%rcx)
	movq	%r11, (GPR + 72)(%rcx)
	movq	%r12, (GPR + 80)(%rcx)
	movq	%r13, (GPR + 88)(%rcx)
	movq	%r14, (GPR + 96)(%rcx)
	movq	%r15, (GPR + 104)(%rcx)
	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movq	(-128 + 8 * \i)(%rsp), %rax
	movq	%rax, (RED + 8 * \i)(%rcx)
	.endr
	pushfq
	.cfi_adjust_cfa_offset 8
	popq	FLAGS(%rcx)
	.cfi_adjust_cfa_offset -8
	cld
	stmxcsr	MXCSR(%rcx)
	fnstcw	CONTROL(%rcx)
	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7
	fstpt	(X87 + 16 * \i)(%rcx)
	.endr
	cmpq	$1, 16(%rsp)
	jb	5f
	ja	6f
	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	vmovups	%ymm\i, (VECTOR + 64 * \i)(%rcx)
	.endr
	vzeroupper
	jmp	7f
5:	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	movups	%xmm\i, (VECTOR + 64 * \i)(%rcx)
	.endr
	jmp	7f
6:	.irp	i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	vmovups	%zmm\i, (VECTOR + 64 * \i)(%rcx)
	.endr
	.irp	i, 1, 2, 3, 4, 5, 6, 7
	kmovw	%k\i, (MASKS + 8 * \i)(%rcx)
	.endr
	vzeroupper
7:	fninit
	pushq	$0x1f80
	.cfi_adjust_cfa_offset 8
	ldmxcsr	(%rsp)
	addq	$32, %rsp
	.cfi_adjust_cfa_offset -32
	.irp	reg, r15, r14, r13, r12, rbp, rbx
	popq	%\reg
	.cfi_adjust_cfa_offset -8
	.cfi_restore \reg
	.endr
	ret
	.cfi_endproc
	.size	spin_full, .-spin_full
	.section .note.GNU-stack,"",@progbits
