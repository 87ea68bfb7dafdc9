//! `llm-gateway reconcile`: a provider's bill held against the ledger.

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    ADMIN_KEY, Answer, Output, Process, Script, Setup, Upstream, completion, receipt, seed, whole,
};

/// 2026-09-28, as a time.
const DAY: i64 = 1_790_553_600_000;
const DAY_MS: i64 = 86_400_000;

const CONFIG: &str =
    "providers: { up: { base_url: 'http://127.0.0.1:9/v1' } }\ncatalog: { file: catalog.json }\n";
const CATALOG: &str = r#"{"version":1,"source":"the test's own","license":"none","models":[
{"id":"fine","offers":[{"provider":"up","upstream":"fine-v1","price":{"rates":{"input":"0.123457","output":"1.000003"}}}]},
{"id":"claude-sonnet-4-5","offers":[{"provider":"up","upstream":"claude-sonnet-4-5","price":{"rates":{"input":"3","output":"15"}}}]}
]}"#;

/// A folder with a ledger of three days: two models, one of them unknown to the catalogue, and another provider.
async fn ledger() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("gateway.yaml"), CONFIG).unwrap();
    std::fs::write(folder.path().join("catalog.json"), CATALOG).unwrap();
    let mut receipts = vec![
        receipt(DAY, "fine", 100, 10, Some("0.000000000001")),
        receipt(DAY + DAY_MS - 1, "fine", 200, 20, Some("0.5")),
        receipt(DAY + DAY_MS, "fine", 1, 1, Some("0.25")),
        receipt(DAY + DAY_MS, "claude-sonnet-4-5", 4124, 51, Some("0.06")),
        receipt(DAY + DAY_MS, "brand-new", 7, 7, None),
    ];
    let mut other = receipt(DAY, "fine", 999, 999, Some("9"));
    other.provider = "other".into();
    receipts.push(other);
    // Refused by the provider: nothing used, nothing charged, on no bill.
    let mut refused = receipt(DAY + 2 * DAY_MS, "fine", 0, 0, Some("0"));
    refused.status = 400;
    receipts.push(refused);
    seed(folder.path(), &receipts).await;
    folder
}

fn reconcile(folder: &TempDir, bill: &str, more: &[&str]) -> Output {
    std::fs::write(folder.path().join("bill"), bill).unwrap();
    let mut arguments = vec!["reconcile", "--provider", "up", "--file", "bill", "--config", "gateway.yaml"];
    arguments.extend(more);
    Process::run(&arguments, folder.path(), &[("LLM_GATEWAY__ADMIN_KEY", ADMIN_KEY)])
}

const BILL: &str = "date,model,input_tokens,output_tokens,cost_usd\n\
    2026-09-28,fine,300,30,0.500000000001\n\
    2026-09-29,fine,1,1,0.25\n\
    2026-09-29,claude-sonnet-4-5,4124,51,0.06\n\
    2026-09-29,brand-new,7,7,0\n";

#[tokio::test]
async fn a_bill_that_says_what_the_ledger_says_ends_with_0() {
    let folder = ledger().await;
    let said = reconcile(&folder, BILL, &[]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.starts_with("up, 2026-09-28 to 2026-09-29 (UTC)\n"), "{}", said.out);
    assert!(said.out.ends_with("equal: 4 days and models compared\n"), "{}", said.out);
    let total = said.out.lines().find(|line| line.starts_with("total") && line.contains("cost_usd")).unwrap();
    assert_eq!(total.matches("0.810000000001").count(), 2, "{}", said.out);
    // The attempt without a price is in the ledger's total.
    assert!(total.ends_with("1 attempts in the ledger without a price"), "{total}");
    // Names and layouts of vendors, JSON lines, days alone, tokens alone, costs alone.
    for bill in [
        "usage_date_utc,model_version,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,\
         usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens\n\
         2026-09-29,claude-sonnet-4-5-20250929,101,20,3,4000,51\n2026-09-29,fine-v1,1,0,0,0,1\n2026-09-29,brand-new,7,0,0,0,7\n",
        "usage_date_utc,model,token_type,cost_usd\n2026-09-29,Claude Sonnet 4.5,input_no_cache,0.05\n\
         2026-09-29,Claude Sonnet 4.5,output,0.01\n2026-09-29,Fine,output,0.25\n",
        "start_time,start_time_iso,model,input_tokens,output_tokens\n1790553600,2026-09-28T00:00:00,fine-2026-01-31,300,30\n\
         1790640000,2026-09-29T00:00:00,fine-2026-01-31,1,1\n1790640000,2026-09-29T00:00:00,brand-new-2026-02-01,7,7\n\
         1790640000,2026-09-29T00:00:00,claude-sonnet-4-5,4124,51\n1790726400,2026-09-30T00:00:00,,,\n",
        "start_time,amount_value,amount_currency,line_item\n1790553600,0.500000000001000000000000000000,usd,\n1790640000,0.31,usd,\n",
        "{\"date\":\"2026-09-28\",\"model\":\"fine\",\"cost_usd\":0.5}\n{\"date\":\"2026-09-28\",\"model\":\"fine\",\"cost_usd\":\"1e-12\"}\n",
    ] {
        let said = reconcile(&folder, bill, &[]);
        assert_eq!(said.code, Some(0), "{bill}\n{}{}", said.out, said.err);
    }
}

#[tokio::test]
async fn differences_are_shown_to_the_last_digit_and_end_with_1() {
    let folder = ledger().await;
    let line = |said: &Output, words: &[&str]| {
        let found = said.out.lines().find(|line| words.iter().all(|word| line.contains(word)));
        found.unwrap_or_else(|| panic!("{words:?} in {}{}", said.out, said.err)).to_owned()
    };
    // One unit of the ledger's money, and below it.
    for cost in ["0.500000000002", "0.500000000001000000000001"] {
        let said = reconcile(&folder, &BILL.replace("0.500000000001", cost), &[]);
        assert_eq!(said.code, Some(1), "{}", said.out);
        let row = line(&said, &["2026-09-28", "fine", "cost_usd"]);
        assert!(row.contains(cost) && row.contains("0.500000000001 "), "{row}");
        assert!(said.out.ends_with("1 of 4 days and models differ\n"), "{}", said.out);
        let said =
            reconcile(&folder, &BILL.replace("0.500000000001", cost), &["--tolerance", "0.000000000001"]);
        assert_eq!(said.code, Some(0), "{}", said.out);
    }
    let said = reconcile(&folder, &BILL.replace("300,30", "300,33"), &["--tolerance", "1"]);
    assert_eq!(said.code, Some(1));
    assert!(line(&said, &["2026-09-28", "output_tokens"]).ends_with(" 3"), "{}", said.out);
    let said = reconcile(&folder, &BILL.replace("300,30", "300,33"), &["--token-tolerance", "3"]);
    assert_eq!(said.code, Some(0), "{}", said.out);
    // Rows that only one side has.
    let said = reconcile(&folder, &BILL.replace("2026-09-29,fine", "2026-09-29,finer"), &[]);
    assert_eq!(said.code, Some(1));
    line(&said, &["2026-09-29", "fine ", "cost_usd", "0.25", "-0.25"]);
    line(&said, &["2026-09-29", "finer", "cost_usd", "0.25"]);
    // The days that are asked for, and those alone.
    let said =
        reconcile(&folder, &BILL.replace("300,30", "1,1"), &["--from", "2026-09-29", "--to", "2026-10-01"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.starts_with("up, 2026-09-29 to 2026-09-30"), "{}", said.out);
    let said = reconcile(&folder, BILL, &["--from", "2026-09-28", "--to", "2026-09-29"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let nothing = "date,model,cost_usd\n";
    let said = reconcile(&folder, nothing, &["--from", "2026-09-28", "--to", "2026-09-30"]);
    assert_eq!(said.code, Some(1), "an empty bill is no equal one: {}{}", said.out, said.err);
}

#[tokio::test]
async fn a_bad_file_is_named_by_line_and_column_and_ends_with_2() {
    let folder = ledger().await;
    for (bill, more, says) in [
        (
            BILL.replace(",4124,", ",4k,"),
            &[][..],
            "bill: line 4, column `input_tokens`: `4k` is not a whole number",
        ),
        (
            BILL.replace("0.25", "free"),
            &[],
            "bill: line 3, column `cost_usd`: `free` is not a decimal number",
        ),
        (BILL.replace("2026-09-28", "28.9.26"), &[], "bill: line 2, column `date`: `28.9.26` is not a day"),
        (BILL.replace("date", "when"), &[], "bill: line 1: no column for the day"),
        (BILL.replace(",7,7,0", ",7,7"), &[], "bill: line 5: 4 cells, where the header has 5"),
        (String::new(), &[], "bill: the file is empty"),
        ("date,model,cost_usd\n".to_owned(), &[], "no row says anything"),
        (BILL.to_owned(), &["--from", "2026-09-30"], "must lie before"),
    ] {
        let said = reconcile(&folder, &bill, more);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{bill}: {}", said.err);
        assert!(said.err.starts_with("error: ") && said.err.contains(says), "{}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    }
    for more in [&["--tolerance", "-1"][..], &["--from", "soon"], &["--tolerance", "x"]] {
        assert_eq!(reconcile(&folder, BILL, more).code, Some(2), "{more:?}");
    }
    let arguments = ["reconcile", "--provider", "up", "--file", "none.csv", "--config", "gateway.yaml"];
    let said = Process::run(&arguments, folder.path(), &[]);
    assert!(said.code == Some(2) && said.err.contains("none.csv cannot be read"), "{}", said.err);
    // No ledger is no equal one, and none is made.
    std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    let said = reconcile(&folder, BILL, &[]);
    assert!(said.code == Some(2) && said.err.contains("there is no ledger"), "{}", said.err);
    assert!(!folder.path().join("data").exists());
}

#[tokio::test]
async fn the_usage_that_one_gateway_exports_is_a_bill_for_another_while_it_runs() {
    let upstream = Upstream::always(Script::new().send(whole(200, &completion("hi")))).await;
    let setup = Setup::with_upstream(&upstream).config("catalog: { file: catalog.json }\n");
    let gateway = setup.file("catalog.json", CATALOG).start().await;
    let client = gateway.client().await;
    for model in ["fine", "fine", "up/brand-new"] {
        assert_eq!(client.ask(model, json!({})).await.status, 200);
    }
    gateway.ledger(3).await;
    let bill = reqwest::Client::new()
        .get(format!("{}/admin/v1/usage?group_by=day,model&format=csv", gateway.ops))
        .bearer_auth(ADMIN_KEY);
    let bill = Answer::of(bill).await;
    std::fs::write(gateway.folder().join("bill.csv"), bill.text()).unwrap();
    let arguments = ["reconcile", "--provider", "up", "--file", "bill.csv", "--config", "gateway.yaml"];
    let said = Process::run(&arguments, gateway.folder(), &[]);
    assert_eq!(said.code, Some(0), "{}\n{}{}", bill.text(), said.out, said.err);
    assert_eq!(client.ask("fine", json!({})).await.status, 200);
    gateway.ledger(4).await;
    let said = Process::run(&arguments, gateway.folder(), &[]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
}
