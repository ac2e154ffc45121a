/* Sends the one form of a page that only passes something on. Without scripts there is a button. */
"use strict";
for (const form of document.querySelectorAll("form[data-onward]")) form.submit();
