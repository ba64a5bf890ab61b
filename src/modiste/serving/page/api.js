// Writes the address under which this page was asked for into its examples.
"use strict";

for (const one of document.querySelectorAll(".address")) one.textContent = new URL(".", location.href).href.replace(/\/$/, "");
