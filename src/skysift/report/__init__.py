"""Figures of a separation, and one self-contained page that holds them."""

from skysift.report.data import ReportData as ReportData
from skysift.report.page import write_page as write_page
from skysift.report.page import write_report as write_report
