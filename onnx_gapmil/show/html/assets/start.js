// All parts are there: show what the address asks for.
address.start();
