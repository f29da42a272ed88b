/* A plugin of qemu that counts the instructions of an aarch64 program: all of them, the multiply-adds of vectors, and
 * the loads and stores. Of qemu's plugin interface, version 1, it needs the declarations below.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { QEMU_PLUGIN_INLINE_ADD_U64 };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t,
                                                  void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *, uint64_t);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
extern void qemu_plugin_outs(const char *);

int qemu_plugin_version = 1;

static uint64_t instructions, multiply_adds, memory;

/* fmla and fmls of four floats, by a vector and by an element (Arm Architecture Reference Manual, C4.1). */
static int is_multiply_add(uint32_t code) {
    return (code & 0xff60fc00) == 0x4e20cc00 || (code & 0xffe0b400) == 0x4f801000 || (code & 0xffe0b400) == 0x4fa01000;
}

/* The class "loads and stores", without the prefetches. */
static int is_memory(uint32_t code) {
    return (code & 0x0a000000) == 0x08000000 && (code & 0xfec00000) != 0xf8800000;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *const instruction = qemu_plugin_tb_get_insn(block, i);
        uint32_t code;
        memcpy(&code, qemu_plugin_insn_data(instruction), sizeof code);
        qemu_plugin_register_vcpu_insn_exec_inline(instruction, QEMU_PLUGIN_INLINE_ADD_U64, &instructions, 1);
        if (is_multiply_add(code))
            qemu_plugin_register_vcpu_insn_exec_inline(instruction, QEMU_PLUGIN_INLINE_ADD_U64, &multiply_adds, 1);
        if (is_memory(code))
            qemu_plugin_register_vcpu_insn_exec_inline(instruction, QEMU_PLUGIN_INLINE_ADD_U64, &memory, 1);
    }
}

static void finish(qemu_plugin_id_t id, void *data) {
    char text[100];
    (void)id, (void)data;
    snprintf(text, sizeof text, "%llu %llu %llu\n", (unsigned long long)instructions, (unsigned long long)multiply_adds,
             (unsigned long long)memory);
    qemu_plugin_outs(text);
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_atexit_cb(id, finish, NULL);
    return 0;
}
