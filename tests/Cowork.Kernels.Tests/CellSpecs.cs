using Cowork.Application;
using Cowork.Testing;

namespace Cowork.Kernels.Tests;

/// <summary>What a cell says, and what it gets.</summary>
public sealed class CellSpecs(RealKernel kernel) : IClassFixture<RealKernel>
{
    [Fact]
    public async Task The_value_of_the_last_expression_is_the_result()
    {
        var run = (await kernel.Run("1 + 1")).Succeeded();
        Assert.Equal("2", run.Result);
        Assert.True(run.Done is { Limit: null, Why: null, IsStateLost: false, ExecutionCount: > 0 });
    }

    [Fact]
    public async Task Variables_are_kept_from_cell_to_cell()
    {
        (await kernel.Run("kept = 41")).Succeeded();
        Assert.Equal("42", (await kernel.Run("kept + 1")).Result);
    }

    [Fact]
    public async Task Both_streams_are_told_apart_and_a_progress_bar_keeps_its_returns()
    {
        var run = (await kernel.Run(
            """
            import sys
            for i in range(3):
                print(f"\r{i}/3", end="", flush=True)
            print("warned", file=sys.stderr)
            """)).Succeeded();
        Assert.Equal("\r0/3\r1/3\r2/3", run.Output);
        Assert.Equal("warned\n", run.StreamText("stderr"));
    }

    [Fact]
    public async Task A_program_that_a_cell_runs_is_heard() =>
        Assert.Contains("from below", (await kernel.Run("!echo from below")).Succeeded().Output, StringComparison.Ordinal);

    [Fact]
    public async Task An_exception_has_its_name_its_message_and_its_traceback()
    {
        var run = await kernel.Run("def f():\n    return 1 / 0\nf()");
        Assert.Equal(("ZeroDivisionError", "division by zero"), (run.Error.Name, run.Error.Value));
        Assert.Contains("ZeroDivisionError", string.Concat(run.Error.Traceback), StringComparison.Ordinal);
        Assert.True(run.Done is { Outcome: KernelOutcome.Failed, Limit: null, IsStateLost: false });
    }

    [Fact]
    public async Task Code_that_is_no_Python_fails() => Assert.Equal("SyntaxError", (await kernel.Run("if")).Error.Name);

    [Theory]
    [InlineData("HTML('<b>x</b>')", "text/html", "<b>x</b>")]
    [InlineData("SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')", "image/svg+xml", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>")]
    [InlineData("Latex('$x^2$')", "text/latex", "$x^2$")]
    [InlineData("Markdown('*x*')", "text/markdown", "*x*")]
    public async Task What_is_displayed_comes_by_its_type(string shown, string mime, string expected)
    {
        var run = (await kernel.Run($"from IPython.display import *\ndisplay({shown})")).Succeeded();
        Assert.Equal(expected, run.Shown(mime).GetString());
        Assert.False(run.Messages.OfType<KernelMessage.Display>().Single().IsResult);
    }

    [Fact]
    public async Task Json_comes_as_json()
    {
        var run = await kernel.Run("from IPython.display import JSON\ndisplay(JSON({'a': [1, 2.5, None]}), metadata={'application/json': {'expanded': True}})");
        Assert.Equal("""{"a":[1,2.5,null]}""", run.Shown("application/json").GetRawText());
        Assert.True(run.Messages.OfType<KernelMessage.Display>().Single().Metadata.GetProperty("application/json").GetProperty("expanded").GetBoolean());
    }

    [Fact]
    public async Task A_table_of_pandas_and_a_chart_of_matplotlib_are_shown()
    {
        var table = (await kernel.Run("import pandas as pd\nsales = pd.DataFrame({'month': ['Jan', 'Feb', 'Mar'], 'sum': [3, 1, 2]})\nsales")).Succeeded();
        Assert.Contains("<td>Feb</td>", table.Shown("text/html").GetString(), StringComparison.Ordinal);
        var grouped = (await kernel.Run("sales.groupby('month')['sum'].sum().sort_values().index.tolist()")).Succeeded();
        Assert.Equal("['Feb', 'Mar', 'Jan']", grouped.Result);
        var chart = (await kernel.Run("import matplotlib.pyplot as plt\nsales.plot.bar(x='month', y='sum')\nplt.savefig('sales.png')\nplt.show()")).Succeeded();
        var png = chart.Shown("image/png").GetBytesFromBase64();
        Assert.Equal("\x89PNG"u8[^3..], png.AsSpan(1, 3));
        Assert.True(new FileInfo(kernel.In("sales.png")).Length > 1_000);
    }

    [Fact]
    public async Task Updates_and_clearing_are_passed_on()
    {
        var run = (await kernel.Run(
            """
            from IPython.display import display, clear_output
            handle = display("one", display_id="progress")
            handle.update("two")
            clear_output(wait=True)
            """)).Succeeded();
        Assert.Equal("progress", run.Messages.OfType<KernelMessage.Display>().Single().DisplayId);
        var update = run.Messages.OfType<KernelMessage.UpdateDisplay>().Single();
        Assert.Equal(("progress", "'two'"), (update.DisplayId, update.Data.GetProperty("text/plain").GetString()));
        Assert.True(run.Messages.OfType<KernelMessage.ClearOutput>().Single().Wait);
    }

    [Fact]
    public async Task Help_comes_as_text() =>
        Assert.Contains("sequence", (await kernel.Run("tuple?")).Succeeded().Shown("text/plain").GetString(), StringComparison.Ordinal);

    [Fact]
    public async Task Nobody_answers_input()
    {
        var run = await kernel.Run("name = input('Your name? ')");
        Assert.Contains("without a keyboard", run.Error.Value, StringComparison.Ordinal);
        Assert.False(run.Done.IsStateLost);
    }

    [Fact]
    public async Task Text_that_is_none_does_not_break_the_line()
    {
        var run = (await kernel.Run("print('a\\udc80b\\0c\\u2028d \\U0001f600')\n'\\udfff'")).Succeeded();
        Assert.Equal("a\ufffdb\0c\u2028d \U0001f600\n", run.Output);
    }

    [Fact]
    public async Task The_environment_tells_language_and_packages()
    {
        var environment = await kernel.Kernel.Environment;
        Assert.Equal(("python3", "python"), (environment.Kernel, environment.Language));
        Assert.Equal(environment.Version, (await kernel.Run("import platform; print(platform.python_version(), end='')")).Output);
        Assert.Contains(environment.Packages, p => p.Name == "pandas" && p.Version.Length > 0);
        Assert.Equal(environment.Packages.OrderBy(p => p.Name, StringComparer.Ordinal), environment.Packages);
    }

    [Fact]
    public async Task A_cell_works_in_its_workspace()
    {
        (await kernel.Run("open('made.txt', 'w').write('by a cell')")).Succeeded();
        Assert.Equal("by a cell", await File.ReadAllTextAsync(kernel.In("made.txt")));
        await File.WriteAllTextAsync(kernel.In("given.txt"), "by the host");
        Assert.Equal("'by the host'", (await kernel.Run("open('given.txt').read()")).Result);
    }

    [Fact]
    public async Task A_file_of_the_hosts_tools_can_be_changed_by_a_cell_and_the_other_way_round()
    {
        var grant = Grants.Of(Grant.Of(kernel.Folder));
        Write("tools/by_host.txt", "host");
        (await kernel.Run("import os\nopen('tools/by_host.txt', 'a').write(' and cell')\nos.makedirs('cells', mode=0o700)\nopen('cells/by_cell.txt', 'w').write('cell')\nos.chmod('cells/by_cell.txt', 0o600)")).Succeeded();
        Assert.Equal("host and cell", await File.ReadAllTextAsync(kernel.In("tools/by_host.txt")));
        Write("cells/by_cell.txt", "host again");
        Assert.Equal("'host again'", (await kernel.Run("open('cells/by_cell.txt').read()")).Result);

        void Write(string path, string content)
        {
            var (entry, error) = GrantedEntry.Open(grant, path, makeFolders: true);
            using (entry)
            {
                Assert.Null(error ?? entry!.Write(System.Text.Encoding.UTF8.GetBytes(content), path));
            }
        }
    }

    [Fact]
    public async Task Output_past_the_limit_is_cut_and_that_is_said()
    {
        var run = (await kernel.Run("print('x' * 2_000_000)\nprint('and more')")).Succeeded();
        Assert.Equal(KernelLimits.Default.OutputBytes, run.Output.Length);
        Assert.Contains("cut", run.Messages.OfType<KernelMessage.Truncated>().Single().Why, StringComparison.Ordinal);
        Assert.Equal("2", (await kernel.Run("1 + 1")).Result);
    }

    [Fact]
    public async Task After_the_cut_of_a_stream_the_value_and_the_exception_still_come()
    {
        var run = (await kernel.Run("print('y' * 10_000_000)\n5")).Succeeded();
        Assert.Equal(("5", KernelLimits.Default.OutputBytes), (run.Result, run.Output.Length));
        Assert.Single(run.Messages.OfType<KernelMessage.Truncated>());
        run = await kernel.Run("print('y' * 10_000_000)\n1 / 0");
        Assert.Equal(("ZeroDivisionError", KernelLimits.Default.OutputBytes), (run.Error.Name, run.Output.Length));
        Assert.Null(run.Done.Limit);
    }

    [Fact]
    public async Task A_value_that_is_too_long_is_cut()
    {
        var run = (await kernel.Run("'x' * 2_000_000")).Succeeded();
        Assert.Equal("'" + new string('x', (int)KernelLimits.Default.OutputBytes - 1), run.Result);
        Assert.Contains("text/plain takes 2000002 bytes", Assert.Single(run.Messages.OfType<KernelMessage.Truncated>()).Why, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Of_a_display_comes_what_fits_and_what_follows_comes_too()
    {
        var run = (await kernel.Run("display({'image/png': 'A' * 2_000_000, 'text/plain': '<Figure>', 'text/html': '<b>'}, metadata={'image/png': {'width': 7}}, raw=True)\nprint('after')\n7")).Succeeded();
        var shown = run.Messages.OfType<KernelMessage.Display>().First().Data;
        Assert.Equal(["text/plain", "text/html"], shown.EnumerateObject().Select(p => p.Name));
        Assert.Equal(("after\n", "7"), (run.Output, run.Result));
        Assert.Contains("image/png takes 2000000 bytes", Assert.Single(run.Messages.OfType<KernelMessage.Truncated>()).Why, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("raise ValueError('x' * 3_000_000)", 20_000)]
    [InlineData("raise ValueError('x' * 40_000_000)", 20_000)] // its messages are too long to be parsed
    public async Task An_exception_with_a_long_message_is_cut_and_the_kernel_keeps_its_variables(string code, int length)
    {
        (await kernel.Run("kept_4 = 1")).Succeeded();
        var run = await kernel.Run(code);
        Assert.Equal(("ValueError", new string('x', length)), (run.Error.Name, run.Error.Value));
        Assert.Contains("ValueError", string.Concat(run.Error.Traceback), StringComparison.Ordinal);
        Assert.Single(run.Messages.OfType<KernelMessage.Truncated>());
        Assert.True(run.Done is { Outcome: KernelOutcome.Failed, Limit: null, IsStateLost: false }, run.Done.ToString());
        Assert.Equal("1", (await kernel.Run("kept_4")).Result);
    }

    [Fact]
    public async Task What_a_thread_prints_while_no_cell_runs_is_the_beginning_of_the_next()
    {
        (await kernel.Run("import os, threading\ndef late():\n    while not os.path.exists('late'): pass\n    print('printed late', flush=True)\n    open('printed', 'w').close()\nthreading.Thread(target=late).start()")).Succeeded();
        await File.WriteAllTextAsync(kernel.In("late"), "");
        await Patience.Until(() => File.Exists(kernel.In("printed")));
        var run = (await kernel.Run("print('and this')")).Succeeded();
        Assert.Equal("printed late\nand this\n", run.Output);
    }

    [Fact]
    public async Task A_large_display_is_left_out_whole()
    {
        var run = (await kernel.Run("from IPython.display import HTML\ndisplay(HTML('<i>' + 'x' * 30_000_000))\nprint('after')")).Done;
        Assert.Equal(KernelLimitCodes.Output, run.Limit);
    }

    [Fact]
    public async Task A_second_cell_at_the_same_time_is_a_mistake_of_the_caller()
    {
        await using var first = kernel.Kernel.Execute("import time\nprint('started', flush=True)\ntime.sleep(60)", CancellationToken.None).GetAsyncEnumerator();
        Assert.True(await first.MoveNextAsync());
        await Assert.ThrowsAsync<InvalidOperationException>(() => kernel.Run("1"));
    }

    [Fact]
    public async Task A_reader_that_leaves_interrupts_the_cell()
    {
        await foreach (var message in kernel.Kernel.Execute("import time\nprint('started', flush=True)\ntime.sleep(60)\nkept_on = 1", CancellationToken.None))
        {
            break;
        }
        Assert.Equal("False", (await kernel.Run("'kept_on' in globals()")).Result);
    }

    [Fact]
    public async Task A_busy_loop_is_interrupted()
    {
        using var interrupt = new CancellationTokenSource();
        var messages = new List<KernelMessage>();
        await foreach (var message in kernel.Kernel.Execute("kept_2 = 1\nprint('started', flush=True)\nwhile True: pass", interrupt.Token))
        {
            messages.Add(message);
            await interrupt.CancelAsync();
        }
        var run = new CellRun(messages);
        Assert.Equal("KeyboardInterrupt", run.Error.Name);
        Assert.True(run.Done is { Outcome: KernelOutcome.Interrupted, IsStateLost: false });
        Assert.Equal("1", (await kernel.Run("kept_2")).Result);
    }

    [Fact]
    public async Task An_interrupt_that_comes_before_the_cell_has_begun_is_kept_for_it()
    {
        (await kernel.Run("kept_3 = 1")).Succeeded();
        using var interrupt = new CancellationTokenSource();
        await interrupt.CancelAsync();
        var run = await kernel.Run("while True: pass", interrupt.Token);
        Assert.True(run.Done is { Outcome: KernelOutcome.Interrupted, IsStateLost: false }, run.Done.ToString());
        Assert.Equal("1", (await kernel.Run("kept_3")).Result);
    }

    [Fact]
    public async Task Forged_messages_are_texts_of_the_cell_and_no_more()
    {
        var run = await kernel.Run(
            """
            from ipykernel.kernelapp import IPKernelApp
            app = IPKernelApp.instance()
            kernel = app.kernel
            def forge(kind, content, **more):
                kernel.session.send(kernel.iopub_socket, kind, content, parent=kernel.get_parent("shell"), ident=b"forged", **more)
            forge("stream", {"name": 7, "text": {"no": "text"}})
            forge("stream", {})
            forge("display_data", {"data": [1, 2], "metadata": 3})
            forge("display_data", {"data": {"text/plain": "x", 5: "y"}, "metadata": None, "transient": []})
            deep = []
            for _ in range(100): deep = [deep]
            forge("display_data", {"data": {"text/plain": "deep", "application/json": deep}, "metadata": {}})
            forge("error", {"ename": None, "evalue": 4, "traceback": "none"})
            forge("update_display_data", {"data": {"text/plain": "x"}})
            forge("done", {"status": "ok"})
            forge("status", {"execution_state": ["idle"]})
            kernel.iopub_socket.send_multipart([b"no", b"message"])
            kernel.iopub_socket.send_multipart([b"x", b"<IDS|MSG>", b"bad signature", b"{}", b"{}", b"{}", b"{}"])
            print("still here")
            """);
        Assert.Contains("still here", run.Output, StringComparison.Ordinal);
        Assert.Equal(KernelOutcome.Succeeded, run.Done.Outcome);
        Assert.Contains("nested deeper", Assert.Single(run.Messages.OfType<KernelMessage.Truncated>()).Why, StringComparison.Ordinal);
        Assert.All(run.Messages.OfType<KernelMessage.Display>(), d => Assert.False(d.Data.TryGetProperty("application/json", out _)));
        Assert.Equal("2", (await kernel.Run("1 + 1")).Result);
    }
}
