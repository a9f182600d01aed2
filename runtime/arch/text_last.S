/* The last object of the library: where its code ends, the likely and the unlikely part, on any CPU.
 * For sched/preempt.c. */
	.text
	.globl	runtime_text_last
	.hidden	runtime_text_last
runtime_text_last:
	.section .text.unlikely,"ax",@progbits
	.globl	runtime_cold_last
	.hidden	runtime_cold_last
runtime_cold_last:
	.section .note.GNU-stack,"",@progbits
