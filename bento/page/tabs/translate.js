export default { title: "Translate", request: "translate", show({ root }) { root.append("…"); } };
