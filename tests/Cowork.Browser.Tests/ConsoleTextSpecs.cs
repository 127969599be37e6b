namespace Cowork.Browser.Tests;

/// <summary>How the console shows texts: what becomes of Markdown, of two versions of a text, and of values that are deep or long.</summary>
public sealed class ConsoleTextSpecs(Chromium chromium, BrowsedHost browsed)
{
    const string Link = "rel=\"noreferrer noopener nofollow\" target=\"_blank\"";

    [Fact]
    public async Task A_reply_is_read_as_Markdown_and_as_nothing_more()
    {
        await using var tab = await ConsoleTab.Open(chromium, (await browsed.Started).Url, "");
        foreach (var (text, html) in (IEnumerable<(string, string)>)[
            ("# A\n\n**b** *c* `d` __e__ 5 * 3 * 2", """<div class="h" role="heading" aria-level="3">A</div><p><strong>b</strong> <em>c</em> <code>d</code> __e__ 5 * 3 * 2</p>"""),
            ("- a\n- b\n  1. c\n\n---", "<ul><li>a</li><li>b<ol><li>c</li></ol></li></ul><hr>"),
            ("| a |\n|---|\n| **1** |", """<table tabindex="0"><thead><tr><th scope="col">a</th></tr></thead><tbody><tr><td><strong>1</strong></td></tr></tbody></table>"""),
            ("```js\n<b>&", """<pre tabindex="0" role="group" aria-label="Code, js"><code>&lt;b&gt;&amp;</code></pre>"""),
            ("<b onclick=x>y</b> [x](javascript:alert(1))", "<p>&lt;b onclick=x&gt;y&lt;/b&gt; [x](javascript:alert(1))</p>"),
            // A link says where it leads, and a picture is one.
            ("![p](https://e.example/p.png)", $"""<p><a href="https://e.example/p.png" {Link} title="https://e.example/p.png">p</a><span class="faint"> (e.example)</span></p>"""),
            ("[https://good.example](https://bad.example/)",
                $"""<p><a href="https://bad.example/" {Link} title="https://bad.example/">https://good.example</a><span class="faint"> (bad.example)</span></p>"""),
            ("> a\n>> b\n>>> c\n>>>> d\n>>>>> e", "<blockquote><p>a</p><blockquote><p>b</p><blockquote><p>c</p><blockquote><p>d</p><p>&gt; e</p></blockquote></blockquote></blockquote></blockquote>"),
        ])
        {
            Assert.Equal(html, await tab.Page.EvaluateAsync<string>($"async text => (await import('{await Module(tab, "ui/reply.js")}')).reply(text).innerHTML", text));
        }
        // Whatever is repeated, it takes no more than a moment.
        Assert.Empty(await tab.Page.EvaluateAsync<string[]>($$"""
            async () => {
                const { reply } = await import('{{await Module(tab, "ui/reply.js")}}');
                const lines = ["*", "[", "`", "a](", "**a", "_a", "|", "|-", "> ", "- ", "1. ", "https://", "#", "~~~"];
                return lines.filter(line => {
                    const from = performance.now();
                    reply((line.repeat(3000).slice(0, 9000) + "\n").repeat(4));
                    return performance.now() - from > 2000;
                });
            }
            """));
    }

    [Fact]
    public async Task What_is_selected_in_a_reply_that_grows_stays_selected_and_the_reply_becomes_what_it_would_be_at_once()
    {
        await using var tab = await ConsoleTab.Open(chromium, (await browsed.Started).Url, "");
        Assert.Equal("a **long** stor, true", await tab.Page.EvaluateAsync<string>($$"""
            async () => {
                const { reply } = await import('{{await Module(tab, "ui/reply.js")}}');
                const { grow, h } = await import('{{await Module(tab, "dom.js")}}');
                const whole = "a **long** stor\n\ny of\n\n- one\n- **two**\n\n```js\nx = 1\n```\n\n[press](https://e.example/)";
                const shown = document.body.appendChild(h("div", reply("a **long** stor", { typing: true })));
                getSelection().selectAllChildren(shown.querySelector("p"));
                for (let i = 15; i <= whole.length; i++) {
                    grow(shown, h("div", reply(whole.slice(0, i), { typing: i < whole.length })));
                }
                const isSame = shown.isEqualNode(h("div", reply(whole)));
                const selected = getSelection().toString();
                shown.remove();
                return `${selected.replace("long", "**long**")}, ${isSame}`;
            }
            """));
    }

    [Fact]
    public async Task Two_texts_are_compared_line_by_line()
    {
        await using var tab = await ConsoleTab.Open(chromium, (await browsed.Started).Url, "");
        foreach (var (before, after, lines) in (IEnumerable<(string, string, string)>)[
            ("", "", ""), ("a\nb\nc", "a\nc", " a,-b, c"), ("a\nb", "a\nx\nb\n", " a,+x, b"), ("a", "b", "-a,+b"), ("", "a\nb", "+a,+b"), ("a\nb\nc\nd", "b\nx\nd", "-a, b,-c,+x, d")])
        {
            Assert.Equal(lines, await tab.Page.EvaluateAsync<string>(
                $"async ([before, after]) => (await import('{await Module(tab, "ui/diff.js")}')).diffLines(before, after).map(line => line.sign + line.text).join()", new[] { before, after }));
        }
    }

    [Fact]
    public async Task A_value_is_shown_however_deep_or_long_it_is()
    {
        await using var tab = await ConsoleTab.Open(chromium, (await browsed.Started).Url, "");
        var shown = await tab.Page.EvaluateAsync<string[]>($$"""
            async () => {
                const { json } = await import('{{await Module(tab, "ui/json.js")}}');
                const { briefJson } = await import('{{await Module(tab, "text.js")}}');
                const deep = JSON.parse("[".repeat(10000) + "]".repeat(10000));
                const long = { line: "x".repeat(1 << 20), list: Array.from({ length: 100000 }, (_, i) => i) };
                const count = value => {
                    const view = json(value);
                    document.body.append(view);
                    view.querySelectorAll("details").forEach(each => each.open = true);
                    const [nodes, chars] = [view.querySelectorAll("*").length, view.textContent.length];
                    view.remove();
                    return nodes < 2000 && chars < 10000;
                };
                return [briefJson(deep), `${briefJson(long).length}`, `${count(deep)} ${count(long)}`];
            }
            """);
        Assert.Equal(["[[[[[[[[[[…]]]]]]]]]]", "201", "true true"], shown);
    }

    [Fact]
    public async Task A_value_is_shown_and_copied_as_it_was_written_and_no_text_looks_like_a_member()
    {
        await using var tab = await ConsoleTab.Open(chromium, (await browsed.Started).Url, "");
        const string Written = """{"n":12345678901234567890,"d":1.0,"r":1,"r":2,"10":[1E-5,-0,{"__proto__":{}}],"t":"\\\"","e":""}""";
        const string Forged = """{"path":"a.sh","content":"ok\npath: \"b.txt\"","none":null,"word":"null","a: 1\nb":1}""";
        var shown = await tab.Page.EvaluateAsync<string[]>($$"""
            async ([written, forged]) => {
                const { read, write } = await import('{{await Module(tab, "exact.js")}}');
                const { json } = await import('{{await Module(tab, "ui/json.js")}}');
                const { briefJson } = await import('{{await Module(tab, "text.js")}}');
                const view = json(read(forged));
                return [write(read(written)), briefJson(read(written)), view.textContent, `${view.querySelectorAll("li").length}`, json(1, "a number", "1.0").textContent];
            }
            """, new[] { Written, Forged });
        Assert.Equal(
            [Written, Written, """
                path: "a.sh"content: "ok\n
                path: \"b.txt\""none: nullword: "null""a: 1\n
                b": 1
                """.ReplaceLineEndings("\n"), "5", "1.0"],
            shown);
    }

    [Fact]
    public async Task Separators_of_a_table_are_found_out_beside_decimal_commas_quotes_and_titles()
    {
        await using var tab = await ConsoleTab.Open(chromium, (await browsed.Started).Url, "");
        var module = await Module(tab, "ui/preview.js");
        foreach (var (text, rows) in (IEnumerable<(string, string)>)[
            ("a,b\n1,2\n", "a|b/1|2"), ("name;price\nA;1,5\nB;2,25\n", "name|price/A|1,5/B|2,25"), ("width, cm;weight, kg\n1,5;2,5\n", "width, cm|weight, kg/1,5|2,5"),
            ("name,tags\nx,a;b\ny,c;d\n", "name|tags/x|a;b/y|c;d"), ("a,b\n1,\"x;y\nz;w\"\n2,\"p;q\"\n", "a|b/1|x;y\nz;w/2|p;q"), ("a\tb\n1,5\t2;3", "a|b/1,5|2;3"),
            ("2026\n\nname;value\na;1,5\nb;2,5\n", "2026//name|value/a|1,5/b|2,5"), ("one\ntwo, three\n", "one/two| three"), ("a;b\r1;2\r", "a|b/1|2"), ("", "")])
        {
            Assert.Equal(rows, await tab.Page.EvaluateAsync<string>($$"""
                async text => {
                    const { cellsOf, separatorOf } = await import('{{module}}');
                    return cellsOf(text, separatorOf(text), 9).map(row => row.join("|")).join("/");
                }
                """, text));
        }
        // Bytes that are no UTF-8, as programs on Windows write them.
        var shown = await tab.Page.EvaluateAsync<string[]>($$"""
            async () => {
                const { preview } = await import('{{module}}');
                const slot = document.createElement("div");
                const bytes = [..."sep=;\r\ngr\u00f6\u00dfe;wert\r\nA;1,5\r\n"].map(each => each.charCodeAt(0));
                await preview(slot, new Blob([new Uint8Array(bytes)]), { mediaType: "text/csv", name: "a.csv", signal: new AbortController().signal });
                return [...slot.querySelectorAll("th, td, .preview-note")].map(each => each.textContent);
            }
            """);
        Assert.Equal(["Its bytes are no UTF-8. They are read as Windows-1252.", "größe", "wert", "A", "1,5"], shown);
    }

    static async Task<string> Module(ConsoleTab tab, string path) =>
        new Uri(new(await tab.Page.EvaluateAsync<string>("document.querySelector('script[type=module]').src")), path).AbsoluteUri;
}
