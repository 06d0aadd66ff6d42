@0xd3a1c0de5eedf00d;
# What the capnp-rpc peer serves; see the workloads. Messages are shared by methods, so that less code is generated.

struct Pair { a @0 :Int64; b @1 :Int64; }
struct Number { value @0 :Int64; }
struct Body { bytes @0 :Data; }

interface Adder {
  add @0 Pair -> Number;
  echo @1 Body -> Body;
  make @2 Number -> (counter :Counter);
  live @3 Number -> Number;
  watch @4 (callee :Counter) -> Number;
  callback @5 Number -> Number;
  node @6 Number -> (node :Node);
}

interface Counter {
  add @0 Number -> Number;
}

interface Node {
  child @0 Number -> (node :Node);
  value @1 Number -> Number;
}
