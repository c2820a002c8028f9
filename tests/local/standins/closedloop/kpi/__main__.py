from standin import main

main("kpi")
