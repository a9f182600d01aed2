/* The first object of the library: where its code begins, the likely and the unlikely part, on any CPU.
 * For sched/preempt.c. */
	.text
	.globl	runtime_text_first
	.hidden	runtime_text_first
runtime_text_first:
	.section .text.unlikely,"ax",@progbits
	.globl	runtime_cold_first
	.hidden	runtime_cold_first
runtime_cold_first:
	.section .note.GNU-stack,"",@progbits
