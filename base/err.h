/* Errors: what the world can cause is a code with a message; what only we can cause is an assert.

   A function that can fail returns mb_err and, on failure, has left one line with mb_fail(): what
   went wrong, where (file:line or offset) and what was expected. Only main() prints and exits. */
#ifndef MB_BASE_ERR_H
#define MB_BASE_ERR_H

typedef enum mb_err {
    MB_OK = 0,
    MB_EINVAL,       /* a setting, argument or input that is not acceptable */
    MB_EIO,          /* the system refused: open, read, write, disk full */
    MB_ENOMEM,       /* memory */
    MB_ECORRUPT,     /* a file that is not what it says it is */
    MB_EMISSING,     /* a file, package or row that is not there */
    MB_EUSAGE,       /* a command line that is not acceptable */
    MB_EINTERRUPTED, /* the user asked to stop */
    MB_EINCOMPARABLE /* two things that must not be compared */
} mb_err;

/* Leaves the message (one line, printf style, kept per thread; control characters become '?') and
   returns CODE. */
__attribute__((format(printf, 2, 3))) mb_err mb_fail(mb_err code, const char *format, ...);

/* Puts "PREFIX: " before the message of an error that is passed on; returns CODE. */
__attribute__((format(printf, 2, 3))) mb_err mb_fail_in(mb_err code, const char *format, ...);

/* The message of this thread's last failure; "" when there was none. */
const char *mb_message(void);

/* Returns from the calling function on error; for where nothing must be undone. */
#define MB_TRY(call)                                                                               \
    do {                                                                                           \
        mb_err mb_try_err = (call);                                                                \
        if (mb_try_err)                                                                            \
            return mb_try_err;                                                                     \
    } while (0)

#endif
